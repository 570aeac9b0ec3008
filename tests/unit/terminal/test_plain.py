"""What models and files say is shown, never obeyed."""

import io
import logging

import pytest
from rich.console import Console

from nlae.cli import one_line
from nlae.errors import NlaeError
from nlae.terminal import progress
from nlae.terminal.plain import plain

CLEAR, TITLE, RIGHT_TO_LEFT, C1 = "\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\u202e", "\x9b31m"
ATTACKS = [CLEAR, TITLE, RIGHT_TO_LEFT, C1, "\r", "\x08\x08", "\u2066", "\u2028", "\ud800", "\x00"]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_control_and_direction_are_made_visible(attack):
    shown = plain(f"an {attack}end")
    assert shown.startswith("an \N{REPLACEMENT CHARACTER}")
    assert shown.isprintable()


@pytest.mark.parametrize(
    "text", ["plain", "two\nlines\tand a tab", "Ünïcödé 漢字 עברית", "می\u200cخواهم", "👩\u200d🔬 ✓"]
)
def test_scripts_and_line_breaks_stay(text):
    assert plain(text) == text
    assert plain("a\u00a0b\u3000c") == "a b c"


@pytest.mark.parametrize("attack", ATTACKS[:5], ids=repr)
def test_log_lines_and_errors_are_shown_plainly(attack, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=False, width=200))
    progress.ConsoleHandler().emit(
        logging.LogRecord("nlae", logging.INFO, "", 0, "the server said %s", (attack,), None)
    )
    for text in (screen.getvalue(), one_line(NlaeError(f"model {attack}x: not there"))):
        assert all(sign.isprintable() or sign == "\n" for sign in text), repr(text)


@pytest.mark.parametrize("attack", ATTACKS[:4], ids=repr)
def test_tables_are_shown_plainly(attack):
    import polars as pl

    from nlae.dictionary.query import Found, table
    from nlae.dictionary.schema import SCHEMA, Entry

    values = {
        name: [] if isinstance(kind, pl.List) else "" if kind == pl.String else 0 for name, kind in SCHEMA.items()
    }
    values |= {"sign": "+", "description": f"rivers {attack}", "writes": f"words {attack}", "passes": False}
    screen = io.StringIO()
    Console(file=screen, width=200, force_terminal=True, color_system=None).print(table(Found([Entry(**values)], 1, 0)))
    assert attack not in screen.getvalue()
    assert "rivers" in screen.getvalue()


@pytest.mark.parametrize("attack", ATTACKS[:4], ids=repr)
def test_what_other_packages_quote_from_a_models_files_is_shown_plainly(attack):
    from nlae.terminal.quiet import QuietLogger

    screen = io.StringIO()
    logger = QuietLogger("other")
    logger.addHandler(logging.StreamHandler(screen))
    logger.warning("a model of type %s%s, key %s", "own", attack, "sk-0123456789abcdef0123")
    assert screen.getvalue().startswith("a model of type own\N{REPLACEMENT CHARACTER}")
    assert screen.getvalue().endswith("key ***\n")
    assert attack not in screen.getvalue()
