"""A reading as a table in the terminal, and the line that says what it will cost."""

from __future__ import annotations

from rich.style import Style
from rich.table import Table
from rich.text import Text

from nlae.explanation.reading import Reading
from nlae.explanation.service import Estimate


def table(reading: Reading, limit: int | None = None) -> Table:
    """Token, FVE (cosine where there is none), rank and explanation; at most `limit` rows, the rest counted below."""
    scored = any(row.fve is not None for row in reading.rows)
    rows = reading.rows if limit is None else reading.rows[:limit]
    left_out = len(reading.rows) - len(rows)
    out = Table(
        box=None,
        padding=(0, 2, 0, 0),
        caption=f"and {left_out} more in the files" if left_out else None,
        caption_justify="left",
    )
    several = len(reading.passages) > 1
    if several:
        out.add_column("passage", style="dim")
    out.add_column("at", justify="right", style="dim")
    out.add_column("token", no_wrap=True)
    out.add_column("FVE" if scored else "cosine", justify="right")
    out.add_column("rank", justify="right")
    out.add_column("explanation", ratio=1)
    for row in rows:
        value = row.fve if scored else row.cosine
        cells = [
            Text(f"{row.index}{'*' if row.mark else ''}"),
            Text(shown(row.token)),
            Text("–" if value is None else f"{value:.2f}", style=_style(value) if scored else Style()),
            Text("–" if row.rank is None else f"{row.rank:g}"),
            # Text, not str: an explanation may hold square brackets, which rich would take for markup
            Text(printable(row.explanation) or "(nothing was written)"),
        ]
        out.add_row(*([Text(reading.passages[row.passage].name)] if several else []), *cells)
    return out


def marks(reading: Reading) -> list[str]:
    """One line for each kind of mark in the table."""
    found: dict[str, list[int]] = {}
    for row in reading.rows:
        if row.mark and row.index not in found.setdefault(row.mark, []):
            found[row.mark].append(row.index)
    return [f"* {len(indices)} × {mark}" for mark, indices in found.items()]


def cost(estimate: Estimate) -> str:
    """One line: how many explanations, and how long they will take."""
    seconds = estimate.seconds
    if seconds < 90:
        span = f"{max(1, round(seconds))} s"
    elif seconds < 5400:
        span = f"{seconds / 60:.0f} min"
    else:
        span = f"{seconds / 3600:.1f} h"
    return f"{estimate.rows} explanations at {estimate.seconds_each:.2f} s each: about {span}"


def shown(token: str) -> str:
    """`token` on one line, with its blanks visible at the ends."""
    inner = printable(token.replace("\n", "↵").replace("\t", "⇥").replace("\r", ""))
    stripped = inner.strip(" ")
    if not stripped:
        return "␣" * min(len(inner), 8) or "·"
    lead = len(inner) - len(inner.lstrip(" "))
    return ("␣" if lead else "") + stripped[:40]


def printable(text: str) -> str:
    """`text` without control characters: a terminal would obey them."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _style(value: float | None) -> Style:
    if value is None:
        return Style()
    return Style(color="cyan", bold=value >= 0.5) if value >= 0 else Style(color="yellow")
