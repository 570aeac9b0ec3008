"""Paths on the command line, in Hydra's grammar whatever characters they hold.

`paths.artifacts=2024`, `corpus.paths=[notes (1).txt]` and `target.model=a=b` mean paths: no number, call or error. What
a user has quoted is left as it is, and so is a choice of a sweep; `${…}` is still resolved.
"""

import re
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from nlae.config.schema import PATH_NAMES

_WHOLE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_CHOICE = re.compile(r"(?:choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.DOTALL)


def quoted(text: str) -> str:
    """A text as a quoted value."""
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _plain(word: str, text: str) -> bool:
    """Whether Hydra reads a value as the text that it is."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
        return not override.is_sweep_override() and str(override.value()) == text and isinstance(override.value(), str)
    except HydraException:
        return False


def quote_paths(overrides: Sequence[str], sweeps: bool = False) -> list[str]:
    """Overrides with the values of path keys quoted where Hydra would read them as something else.

    Args:
        overrides: as typed.
        sweeps: whether unquoted commas stand between the values of several jobs.
    """
    found = []
    for word in overrides:
        key, equals, value = word.partition("=")
        several = sweeps and (_CHOICE.fullmatch(value) or len(list(_items(value))) > 1)
        if not equals or several or "hydra." in key or key.rpartition(".")[2].lstrip("+") not in PATH_NAMES:
            found.append(word)
        elif value.startswith("[") and value.endswith("]") and key.endswith("paths"):
            found.append(f"{key}=[{','.join(_quote(item) for item in _items(value[1:-1]))}]")
        else:
            found.append(f"{key}={_quote(value)}")
    return found


def _quote(value: str) -> str:
    if value in ("", "null") or _WHOLE.fullmatch(value):
        return value
    # what stands behind a backslash decides what it means, and in a list a comma does
    return value if "\\" not in value and _plain(f"x={value}", value) else quoted(value)


def _items(text: str) -> Iterator[str]:
    """What stands between the commas of a list, quoted ones and those in brackets left out."""
    item, depth, at = "", 0, 0
    while at < len(text):
        whole = _WHOLE.match(text, at) if not item.strip() else None
        if whole:
            item, at = item + whole.group(), whole.end()
            continue
        letter = text[at]
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and depth <= 0:
            yield item.strip()
            item = ""
        else:
            item += letter
        at += 1
    if item.strip():
        yield item.strip()
