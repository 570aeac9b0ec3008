"""The Jinja environment that every page is rendered with, and how a page reaches the disk.

A room keeps its own templates, styles and scripts in a folder `templates`; what they share lies here. Autoescape is on
for every template whatever its name; an undefined name is an error, not an empty string.
"""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent / "templates"
MINUS = "\N{MINUS SIGN}"


@functools.cache
def environment(folder: Path = TEMPLATES) -> Environment:
    """One room's templates and the shared ones, with the filter `number` and the function `asset`."""
    env = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["number"] = number
    env.globals["asset"] = functools.partial(asset, folder=folder)
    return env


def render(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """The page made of `template` (a file name in the room's folder or the shared one) and plain `values`."""
    return environment(folder).get_template(template).render(**values)


def write(path: Path, text: str) -> Path:
    """Write `text` under a temporary name and rename it, so that nobody sees half a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def framed(page: str, height: int = 620, title: str = "nlae") -> str:
    """`page` inside a sandboxed frame, for notebooks: its style and script cannot touch the notebook's own."""
    return (
        f'<iframe sandbox="allow-scripts" title="{escape(title)}" srcdoc="{escape(page)}" '
        f'style="width:100%;height:{int(height)}px;border:0;border-radius:8px"></iframe>'
    )


def asset(name: str, folder: Path = TEMPLATES) -> Markup:
    """A style or script of ours, verbatim: it is no template, so no brace in it can be taken for one."""
    path = folder / name if (folder / name).is_file() else TEMPLATES / name
    return Markup(path.read_text(encoding="utf-8"))  # our own file, nothing of a user's


def number(value: float | int | None, digits: int = 2) -> str:
    """`value` for a reader: a true minus sign, thousands apart, an en dash for what is missing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 10):
        return f"{int(value):,}".replace("-", MINUS)
    size = abs(value)
    tiny = 0 < size < 10 ** -(digits + 2)
    text = f"{value:.1e}" if tiny else f"{value:,.{digits if size < 10 else min(digits, 1)}f}"
    return text.replace("-", MINUS)
