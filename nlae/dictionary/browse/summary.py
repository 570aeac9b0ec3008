"""What a dictionary's flat numbers say beside their nulls, as small tables that every summary page shows.

A table is there where its numbers are: a dictionary that nobody judged or steered with has fewer. Left out: curves and
single entries, which are the overview's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nlae.page.environment import number

Metrics = Mapping[str, float]
Rows = list[tuple[str, ...]]
_score = partial(number, digits=3)
PASSING = (
    ("pass_share", "Neurons"),
    ("rotated_share", "Randomly rotated neurons"),
    ("headline", "Difference"),
    ("false_share", "Another entry's words, of what passes"),
    ("beats_nearest", "Own words above the nearest other entry's"),
)
AUROCS = (
    ("skyline", "Skyline: the entry's own vector, no words"),
    ("last_token", "Last-token table"),
    ("token_list", "List of its tokens"),
    ("lens", "Words of the unembedding"),
)
JUDGES = (("embedding/detection", "embedding"), ("judge/detection", "detection"), ("judge/fuzzing", "fuzzing"))
JUDGED = (
    (("", "/description"), "The words"),
    (("/description_passing",), "The words, where they pass"),
    (("_mismatched", "/mismatched"), "Another entry's words"),
    (("_token_list", "/token_list"), "List of its tokens"),
    (("/control",), "Planted detectors: the judge's own test"),
)


@dataclass(frozen=True)
class Table:
    """A few figures with their caption.

    Attributes:
        name: for links within a page.
        title: what it is about.
        about: how to read it.
        head: name of each column; the first one, of the labels, is empty.
        rows: a label and its figures.
    """

    name: str
    title: str
    about: str
    head: tuple[str, ...]
    rows: Rows


def percent(value: float | None) -> str:
    """A share as a percentage; below one percent with two significant digits, so that zero alone reads zero."""
    if value is None:
        return "–"
    size = abs(100 * value)
    digits = 0 if not size or size >= 10 else 1 if size >= 1 else 1 - math.floor(math.log10(size))
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def pooled(layers: Sequence[Mapping[str, Any]], name: str, of: str = "entries") -> float | None:
    """Mean of a rate over blocks, weighted by what it is a rate of; None where no block has both."""
    rows = [(row[name], row[of]) for row in layers if row.get(name) is not None and row.get(of)]
    return sum(rate * count for rate, count in rows) / sum(count for _, count in rows) if rows else None


def tables(metrics: Metrics, reader: str = "bag") -> list[Table]:
    """Every table that the numbers allow.

    Args:
        metrics: `metrics.json` of the dictionary.
        reader: whose words are shown, the first part of their keys.
    """
    made = (_passing(metrics, reader), _medians(metrics, reader), _judged(metrics), _steered(metrics))
    return [table for table in made if table.rows]


def _passing(metrics: Metrics, reader: str) -> Table:
    about = (
        "Share of all entries of held-out neurons on works that chose nothing. Rotated neurons are random directions "
        "of the same space, sent through everything. Brackets hold 95\N{NO-BREAK SPACE}% intervals over works."
    )
    rows: Rows = [
        (label, _within(metrics, f"{reader}/{key}", percent)) for key, label in PASSING if f"{reader}/{key}" in metrics
    ]
    return Table("passing", "What passes, and what should not", about, ("", "share"), rows)


def _medians(metrics: Metrics, reader: str) -> Table:
    keys = ((f"{reader}/median_auroc", "The words"), *((f"{key}/median_auroc", label) for key, label in AUROCS))
    rows: Rows = [(label, _within(metrics, key)) for key, label in keys if key in metrics]
    about = "Median over scored entries of how well contexts that fire are told from others; 0.5 is chance."
    return Table("auroc", "How well the words predict", about, ("", "AUROC"), rows)


def _judged(metrics: Metrics) -> Table:
    rows: Rows = [
        (label, judge, _within(metrics, f"{base}{ending}"))
        for base, judge in JUDGES
        for endings, label in JUDGED
        for ending in endings
        if f"{base}{ending}" in metrics
    ]
    about = (
        "Judges that had no part in any fit say by the words alone which contexts fire (embedding, detection) or "
        "whether the marked tokens do (fuzzing): AUROC, of which 0.5 is chance."
    )
    refused = [judge for base, judge in JUDGES if metrics.get(f"{base}/published") == 0]
    about += f" It failed its own test, so nothing is published of {' and '.join(refused)}." if refused else ""
    return Table("judge", "What judges make of the words", about, ("", "judge", "score"), rows)


def _steered(metrics: Metrics) -> Table:
    keys = (("output_score", "Its tokens"), ("output_score/null", "Another neuron's tokens"))
    rows: Rows = [(label, _within(metrics, key)) for key, label in keys if key in metrics]
    about = (
        "How often steering raises the tokens that an entry promotes more than random directions of the same effect "
        "do; 0.5 is chance. Near the last block this is close to a tautology."
    )
    return Table("steering", "What steering with entries does", about, ("", "median output score"), rows)


def _within(metrics: Metrics, key: str, show: Callable[[float], str] = _score) -> str:
    """A figure, and its interval where it has one."""
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    return show(metrics[key]) + ("" if low is None or high is None else f" ({show(low)} to {show(high)})")
