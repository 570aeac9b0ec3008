"""Questions to a dictionary: ranked, filtered, page by page, and as a table for the terminal.

How words match is `search`'s business. Every score stands beside its null, here as everywhere.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from rich.table import Table
from rich.text import Text

from nlae.dictionary.entries import Dictionary
from nlae.dictionary.schema import Entry
from nlae.dictionary.search import lowered, matches
from nlae.terminal import plain

ORDERS = ("relevance", "prediction", "number")
_NARROW = ("layer", "passes", "prediction")
_NAME = re.compile(r"\s*(?:layer\s*)?(\d{1,9})\s*(?:[./:,]|\s|neuron)+\s*(\d{1,9})\s*([+\-−]?)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """One page of answers.

    Attributes:
        entries: best first.
        total: how many there are in all.
        passing: how many of all pass.
    """

    entries: list[Entry]
    total: int
    passing: int


class Finder:
    """Answers questions to one dictionary; the searched texts are read at the first one and kept.

    Args:
        dictionary: what is searched.
    """

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self._lock = threading.Lock()

    @cached_property
    def _texts(self) -> pl.DataFrame:
        return lowered(self.dictionary.frame())

    def warm(self) -> None:
        """Read the searched texts now."""
        with self._lock:
            _ = self._texts

    def find(
        self,
        query: str = "",
        *,
        layer: int | None = None,
        passing: bool = False,
        order: str = "relevance",
        start: int = 0,
        limit: int = 20,
    ) -> Found:
        """Entries that match.

        Args:
            query: words that an entry must all contain; none: every entry.
            layer: only this one.
            passing: only entries that pass.
            order: one of `ORDERS`; relevance puts passing entries first, and is prediction where there are no words.
            start: entries to skip.
            limit: entries to give.
        """
        self.warm()
        rows = matches(self._texts, query) if re.search(r"\w", query) else self._texts.select("place", *_NARROW)
        if layer is not None:
            rows = rows.filter(pl.col("layer") == layer)
        if passing:
            rows = rows.filter("passes")
        if order == "number":
            rows = rows.sort("place")
        elif order == "prediction":
            rows = rows.sort("prediction", descending=True, nulls_last=True, maintain_order=True)
        found = rows.select("place", "passes")
        places = found["place"].slice(start, limit).to_list()
        return Found([self.dictionary.at(place) for place in places], len(found), int(found["passes"].sum() or 0))


def named(query: str) -> tuple[int, int] | None:
    """Layer and neuron when a query names one (`12.345`, `12/345-`, `layer 12 neuron 345`), else None."""
    match = _NAME.fullmatch(query)
    return (int(match[1]), int(match[2])) if match else None


def table(found: Found) -> Table:
    """Answers for the terminal: the name, what it stands for, and each score beside what it must beat."""
    out = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left")
    left_out = found.total - len(found.entries)
    if left_out > 0:
        out.caption = f"and {left_out:,} more"
    out.add_column("entry", no_wrap=True)
    out.add_column("passes", no_wrap=True)
    out.add_column("AUROC", justify="right")
    for name in ("decoy", "last token", "skyline", "q"):
        out.add_column(name, justify="right", style="dim")
    out.add_column("stands for", ratio=1)
    for entry in found.entries:
        scores = (entry.prediction_null, entry.last_token, entry.skyline, entry.fdr)
        said = Text(plain(" ".join(entry.description.split())))
        if not entry.passes:
            said.append(f"; best candidate: {plain(' '.join(entry.candidate.split()))}" if entry.candidate else "")
            said.stylize("dim")
        out.add_row(
            Text(plain(entry.name)),
            Text("yes" if entry.passes else "no", style="green" if entry.passes else "dim"),
            Text(figure(entry.prediction), style="bold" if entry.passes else ""),
            *(Text(figure(score)) for score in scores),
            said,
        )
    return out


def legend(found: Found) -> list[str]:
    """How to read the table."""
    if not found.total:
        return ["Nothing matches. Every word must begin a word of the description, the candidate or the tokens."]
    return [
        f"{found.total:,} entries match, {found.passing:,} of them pass. AUROC is of the description, on held-out "
        "documents that chose nothing; 0.5 is chance.",
        "decoy: the same pipeline on shuffled activations; last token, skyline: a table by token, and no words at all; "
        "q: false-discovery rate.",
    ]


def figure(value: float | None) -> str:
    """A score as text; an en dash where it was not measured."""
    return "–" if value is None else f"{value:.2f}"
