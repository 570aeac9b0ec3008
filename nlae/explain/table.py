"""A reading in the terminal: the table, how to read its columns, and the line that says what it will cost."""

from __future__ import annotations

from rich.style import Style
from rich.table import Table
from rich.text import Text

from nlae.explain.legend import CUT, plural, terms
from nlae.explain.reading import Reading, ReadingRow
from nlae.explain.service import Estimate
from nlae.terminal.plain import plain


def table(reading: Reading) -> Table:
    """Token, FVE (cosine where there is none), its control, rank and explanation; as many rows as are wanted.

    Chats get a column for who wrote the token, directions one for how far the words point along them.
    """
    scored, chat, along = reading.scored, reading.has("role"), reading.has("alignment")
    control = reading.has("shuffled")
    rows = reading.rows[: reading.table_rows]
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
    if chat:
        out.add_column("turn", style="dim", no_wrap=True)
    out.add_column(reading.noun, no_wrap=True)
    out.add_column("FVE" if scored else "cosine", justify="right")
    if control:
        out.add_column("shuffled", justify="right", style="dim")
    out.add_column("rank", justify="right")
    if along:
        out.add_column("along", justify="right")
    out.add_column("explanation", ratio=1)
    for row in rows:
        value = row.fve if scored else row.cosine
        cells = [
            Text(f"{row.index}{'*' if row.mark else ''}"),
            *([Text("its own answer" if row.generated else shown_text(row.role))] if chat else []),
            Text(shown(row.token)),
            Text(_figure(value), style=_style(value) if scored else Style()),
            *([Text(_figure(row.shuffled))] if control else []),
            Text("–" if row.rank is None else f"{row.rank:g}"),
            *([Text(_figure(row.alignment))] if along else []),
            _said(row),
        ]
        out.add_row(*([Text(shown_text(reading.passages[row.passage].name))] if several else []), *cells)
    return out


def heading(reading: Reading) -> list[str]:
    """What was read, and what the target wrote itself on the way."""
    tokens = len({(row.passage, row.index) for row in reading.rows})
    where = " at ".join(reading.about[key] for key in ("target", "site") if key in reading.about)
    lines = [f"{plural(tokens, reading.noun)}{f' of {where}' if where else ''}, put into words:"]
    for passage in reading.passages:
        own = "".join("".join(passage.pieces[turn.start : turn.end]) for turn in passage.turns if turn.generated)
        if own:
            lines.insert(0, f"{passage.name}, the model's own turn: {shown_text(own)}")
    return lines


def legend(reading: Reading) -> list[str]:
    """How to read the table's columns, and their means."""
    return [f"{name}: {sentence}" for name, sentence in terms(reading)]


def _said(row: ReadingRow) -> Text:
    # Text, not str: an explanation may hold square brackets, which rich would take for markup
    text = Text(plain(row.shown) or "(nothing was written)")
    return text if row.closed else text.append(f" … {CUT}", style="yellow")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


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
    return f"{plural(estimate.rows, 'explanation')} at {estimate.seconds_each:.2f} s each: about {span}"


def shown(token: str) -> str:
    """`token` on one line, with its blanks visible at the ends."""
    inner = shown_text(token)
    stripped = inner.strip(" ")
    if not stripped:
        return "␣" * min(len(inner), 8) or "·"
    lead = len(inner) - len(inner.lstrip(" "))
    return ("␣" if lead else "") + stripped[:40]


def shown_text(text: str) -> str:
    """`text` on one line, as it is but for line breaks and control characters."""
    return plain(text.replace("\n", "↵").replace("\t", "⇥").replace("\r", ""))


def _style(value: float | None) -> Style:
    if value is None:
        return Style()
    return Style(color="cyan", bold=value >= 0.5) if value >= 0 else Style(color="yellow")
