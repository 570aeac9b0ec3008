"""Questions to a dictionary: ranked, filtered, page by page, and as a table for the terminal.

Every word of a query counts where it begins a word of the description, of what is written, or of the tokens that fire
and are promoted; descriptions weigh most, and among equals the entries that pass come first. Every score stands beside
its null, here as everywhere. An index is left out: a scan of half a million entries takes a fraction of a second.
"""

import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
from rich.table import Table
from rich.text import Text

from nlae.dictionary.entries import Dictionary
from nlae.dictionary.schema import SCHEMA, Entry
from nlae.page.environment import number
from nlae.terminal.plain import plain

_LISTS: dict[str, Any] = {name: [] for name, kind in SCHEMA.items() if isinstance(kind, pl.List)}
WEIGHTS = {"description": 8, "writes": 4, "tokens": 2, "promoted": 1}
_JOINED = ("tokens", "promoted")
_MOST_WORDS = 16  # of a query; the rest is ignored
_NEAR, _ASKED = 3, 4  # words that are suggested for each of a query's first few
_NAME = re.compile(
    r"\s*(?:(?:layer|block)\s*)?(\d{1,9})\s*(?:[./:,]|\s|neuron)+\s*(\d{1,9})\s*([+\-−]?)\s*", re.IGNORECASE
)


@dataclass(frozen=True)
class Found:
    """One page of answers.

    Attributes:
        entries: best first, without contexts and promoted tokens, which are read one by one.
        total: how many there are in all.
        passing: how many of all pass.
        near: words that lie near the query, where nothing matches.
    """

    entries: list[Entry]
    total: int
    passing: int
    near: tuple[str, ...] = ()


class Finder:
    """Answers questions to one dictionary; the searched texts are read at the first one and kept."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary

    @cached_property
    def _texts(self) -> pl.DataFrame:
        """What is searched, in lower case, passing entries first, then by AUROC; `place` is an entry's in the file."""
        lower = [
            (pl.col(name).list.join(" ") if name in _JOINED else pl.col(name)).str.to_lowercase() for name in WEIGHTS
        ]
        whole = pl.concat_str(*WEIGHTS, separator=" ", ignore_nulls=True)
        found = self.dictionary.frame().select("layer", "passes", "auroc", *WEIGHTS).with_row_index("place")
        found = found.with_columns(lower).with_columns(whole=whole)
        return found.sort(["passes", "auroc", "place"], descending=[True, True, False], nulls_last=True).collect()

    @cached_property
    def _words(self) -> list[str]:
        """Every word of three letters and more that descriptions and what is written hold, in order."""
        columns = (self._texts[name].str.extract_all(r"\p{L}{3,}").explode() for name in ("description", "writes"))
        return sorted(set().union(*(column.drop_nulls().unique().to_list() for column in columns)))

    def warm(self) -> None:
        """Read the searched texts now."""
        _ = self._texts, self._words, self.dictionary.overview

    def find(
        self, query: str = "", *, layer: int | None = None, passing: bool = False, start: int = 0, limit: int = 20
    ) -> Found:
        """Entries that match, passing ones first, then by what matched, then by AUROC.

        Args:
            query: words that an entry must all contain; none: every entry.
            layer: only this one.
            passing: only entries that pass.
            start: entries to skip.
            limit: entries to give.
        """
        rows, score = self._texts, pl.lit(0, pl.Int16)
        for word in sorted(words_of(query), key=len, reverse=True):  # longer words are rarer
            pattern = r"\b" + re.escape(word)
            rows = rows.filter(pl.col("whole").str.contains(pattern))
            for name, weight in WEIGHTS.items():
                score += pl.col(name).str.contains(pattern).fill_null(False) * weight
        if layer is not None:
            rows = rows.filter(pl.col("layer") == layer)
        if passing:
            rows = rows.filter("passes")
        ranked = rows.select("place", "passes", score=score).sort(
            "passes", "score", descending=True, maintain_order=True
        )
        places = ranked["place"].slice(start, limit).to_list()
        entries = [Entry(**{**_LISTS, **row}) for row in self.dictionary.overview[places].to_dicts()]
        suggested = () if len(rows) else tuple(near(self._words, query))
        return Found(entries, len(rows), int(rows["passes"].sum() or 0), suggested)


def named(query: str) -> tuple[int, int] | None:
    """Layer and neuron when a query names one (`12.345`, `12/345-`, `layer 12 neuron 345`), else None."""
    match = _NAME.fullmatch(query)
    return (int(match[1]), int(match[2])) if match else None


def words_of(query: str) -> list[str]:
    """The words that are searched for, each once."""
    return list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:_MOST_WORDS]


def near(words: list[str], query: str) -> list[str]:
    """Words that lie near those of a query that found nothing.

    For each of its first words: itself where it is known, else what begins with it, else what is spelt alike.
    """
    found: list[str] = []
    for word in words_of(query)[:_ASKED]:
        known = [w for w in words if w.startswith(word)][:_NEAR]
        alike = [] if known else [w for w in words if w[0] == word[0] or w[1:3] == word[1:3]]
        found += known[:1] if known[:1] == [word] else known or difflib.get_close_matches(word, alike, _NEAR)
    return list(dict.fromkeys(found))


def table(found: Found) -> Table:
    """Answers for the terminal: the name, each score beside what it must beat, and what it fires on and writes."""
    out = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left")
    left_out = found.total - len(found.entries)
    if left_out > 0:
        out.caption = f"and {left_out:,} more"
    for name in ("entry", "grade", "label"):
        out.add_column(name, no_wrap=True)
    out.add_column("AUROC", justify="right")
    for name in ("nearest", "last token", "skyline"):
        out.add_column(name, justify="right", style="dim")
    out.add_column("fires on", ratio=2)
    out.add_column("writes", ratio=1, style="dim")
    for entry in found.entries:
        said, writes = (Text(plain(" ".join(text.split()))) for text in (entry.description, entry.writes))
        if not entry.passes:
            said = Text(f"no description holds; best words tried: {said}" if said.plain else "no description", "dim")
        out.add_row(
            Text(plain(entry.name)),
            Text(plain(entry.grade) or "–", style="green" if entry.passes else "dim"),
            Text(plain(entry.label) or "–", style="" if entry.passes else "dim"),
            Text(number(entry.auroc), style="bold" if entry.passes else ""),
            *(Text(number(score)) for score in (entry.nearest, entry.last_token, entry.skyline)),
            said,
            writes,
        )
    return out


def legend(found: Found) -> list[str]:
    """How to read the table; without an answer, what lies near."""
    if not found.total:
        said = [
            "Nothing matches. Every word must begin a word of the description, of what is written or of the tokens."
        ]
        return said + ([f"Near it: {', '.join(found.near)}"] if found.near else [])
    return [
        f"{found.total:,} entries match, {found.passing:,} of them pass. AUROC is of the description, on works that "
        "chose nothing; 0.5 is chance.",
        "nearest: the nearest other entry's words; last token, skyline: a table by token, and no words at all.",
    ]
