from pathlib import Path

import pytest
from jinja2 import UndefinedError

from nlae.page import framed, render, write
from nlae.page.environment import TEMPLATES, environment

HOSTILE = "</script><script>alert('x')</script>\"'&"


def test_everything_is_escaped_whatever_the_template_is_called() -> None:
    out = environment().from_string('<p title="{{ x }}">{{ x }}</p><script>{{ x|tojson }}</script>').render(x=HOSTILE)
    assert "<script>alert" not in out
    assert out.count("</script>") == 1


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("base.html.j2")


def test_a_page_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "page.html"
    write(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write(path, "\ud800")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_a_frame_escapes_its_page() -> None:
    assert "<script>" not in framed(HOSTILE, title=HOSTILE)


def test_nothing_of_ours_is_fetched_from_anywhere() -> None:
    folders = [*TEMPLATES.parents[1].rglob("templates")]
    assert len(folders) == 4  # page, explain, report, dictionary/browse
    paths = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for name in ("http-equiv", 'xmlns="http://www.w3.org/2000/svg"'):
            text = text.replace(name, "")
        assert "http" not in text.lower(), path.name
        assert "@import" not in text
        assert "innerHTML" not in text
        if path.suffix in (".js", ".css"):
            assert "</s" not in text, path.name
