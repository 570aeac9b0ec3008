"""What a dictionary's flat numbers say beside the share that passes, as small tables that every summary page shows.

A table is there where its numbers are; an older dictionary, or one that nobody judged or steered with, has fewer. Left
out: curves and single entries, which are the overview's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlae.page.environment import number

Metrics = Mapping[str, float]
Rows = list[tuple[str, ...]]
TASKS = ("detection", "fuzzing")
NULLS = (
    ("decoy", "Decoys that set no rule"),
    ("shuffled", "Another entry's description"),
    ("rotated", "Random directions"),
)
JUDGED = (
    ("ours", "The words"),
    ("ours_passing", "The words, where they pass"),
    ("verbalized", "Best of the autoencoder's texts, as many as key words"),
    ("context_only", "Best of the key-word texts"),
    ("token_list", "List of its top tokens"),
    ("decoy", "Its decoy's words"),
    ("control", "Planted detectors: the judge's own test"),
    ("verbalized_lead_over_context_only", "Lead of the autoencoder's texts over key words"),
)
STEERED = (
    ("output_score", "Median"),
    ("output_score/passing", "Median where it passes"),
    ("output_score/early", "Median, first third of the layers"),
    ("output_score/middle", "Median, second third"),
    ("output_score/late", "Median, last third"),
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


def percent(value: float) -> str:
    """A share as a percentage; below one percent with two significant digits, so that zero alone reads zero."""
    size = abs(100 * value)
    digits = 0 if not size else 1 if size >= 1 else 1 - math.floor(math.log10(size))
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def pooled(layers: Sequence[Mapping[str, Any]], name: str, of: str = "entries") -> float | None:
    """Mean of a rate over layers, weighted by what it is a rate of; None where no layer has both."""
    rows = [(row[name], row[of]) for row in layers if row.get(name) is not None and row.get(of)]
    return sum(rate * count for rate, count in rows) / sum(count for _, count in rows) if rows else None


def tables(metrics: Metrics) -> list[Table]:
    """Every table that the numbers allow; see `nlae.dictionary.metrics` and `nlae.dictionary.examine`."""
    made = (_nulls(metrics), _judged(metrics), _steered(metrics), _budget(metrics), _survival(metrics))
    return [table for table in made if table.rows]


def _nulls(metrics: Metrics) -> Table:
    rows: Rows = [
        (
            label,
            _count(metrics, f"pass_count/{name}"),
            _count(metrics, f"pass_tried/{name}"),
            _percent(metrics, f"pass_rate/{name}"),
            _percent(metrics, f"pass_rate/{name}_high"),
            _percent(metrics, f"null_share/{name}"),
        )
        for name, label in NULLS
        if f"null_share/{name}" in metrics or f"pass_count/{name}" in metrics
    ]
    promised = metrics.get("null_share/fdr")
    about = (
        "The last column is the rate of the null over that of the entries: the share of false ones among what passes, "
        "if every entry were such a null."
    )
    if promised is not None:
        about += f" The rule promises at most {percent(promised)}."
    if any(f"pass_rate/{name}_high" in metrics for name, _ in NULLS):
        about += (
            " “At most” is the upper end of an exact 95\N{NO-BREAK SPACE}% interval that takes tries as independent."
        )
    return Table("nulls", "What passes by chance", about, ("", "pass", "tried", "rate", "at most", "of entries"), rows)


def _judged(metrics: Metrics) -> Table:
    rows: Rows = [
        (label, task, _within(metrics, key), _count(metrics, f"{key}_entries"))
        for task in TASKS
        for key, label in ((f"judge/{task}/{group}", label) for group, label in JUDGED)
        if key in metrics
    ]
    refused = [task for task in TASKS if metrics.get(f"judge/{task}/published") == 0]
    about = (
        "Balanced accuracy of a judge that is given a description only and says which windows fire (detection) or "
        "whether the marked tokens do (fuzzing); 0.5 is chance. Brackets hold 95\N{NO-BREAK SPACE}% intervals."
    )
    if refused:
        about += f" The judge failed its own test, so nothing is published of {' and '.join(refused)}."
    return Table("judge", "What a judge makes of the words", about, ("", "task", "score", "entries"), rows)


def _steered(metrics: Metrics) -> Table:
    rows: Rows = [
        (label, _number(metrics, key), _number(metrics, f"{key}/decoy"), _count(metrics, f"{key}/entries"))
        for key, label in STEERED
        if key in metrics
    ]
    if "output_score/mean" in metrics:
        null, entries = _within(metrics, "output_score/decoy_mean"), _count(metrics, "output_score/entries")
        rows.append(("Mean", _within(metrics, "output_score/mean"), null, entries))
    if "output_score/gain" in metrics:
        gain, null = (_number(metrics, f"output_score/{name}") for name in ("gain", "gain_decoy"))
        rows.append(("Median gain in log-odds, nats", gain, null, "–"))
    if "output_score/gain_random" in metrics:
        rows.append(("The same under random directions", _number(metrics, "output_score/gain_random"), "–", "–"))
    about = (
        "Output score: how often steering raises the tokens that the entry promotes more than random directions of "
        "the same effect do; 0.5 is chance. Beside it the same steering as seen by another neuron's tokens. Near the "
        "last layer the score is close to a tautology."
    )
    unreached = metrics.get("output_score/unreached")
    if unreached:
        about += f" {number(int(unreached))} more could not be steered to the same effect."
    return Table("steering", "What steering with entries does", about, ("", "its tokens", "another's", "entries"), rows)


def _budget(metrics: Metrics) -> Table:
    named = (("sample/verbalized", "Autoencoder, median"), ("sample/context_only", "Key words, median"))
    rows: Rows = [(label, _number(metrics, key)) for key, label in named if key in metrics]
    if "sample/gain" in metrics:
        rows.append(("Mean gain over key words", _within(metrics, "sample/gain")))
    about = (
        "AUROC of sampled entries, the best of as many texts on either side; 0.5 is chance. Brackets hold the "
        "95\N{NO-BREAK SPACE}% interval over neurons."
    )
    return Table("budget", "The autoencoder's texts against key words", about, ("", "AUROC"), rows)


def _survival(metrics: Metrics) -> Table:
    named = (("r2", "Through the words"), ("r2_ceiling", "Best linear map from what is put into words"))
    rows: Rows = [(label, _number(metrics, key)) for key, label in named if key in metrics]
    about = "Share of a neuron's variance over held-out contexts that is rebuilt, median over neurons."
    return Table("survival", "What of a neuron's variance survives", about, ("", "R²"), rows)


def _number(metrics: Metrics, key: str) -> str:
    return number(metrics.get(key), 3)


def _count(metrics: Metrics, key: str) -> str:
    return number(int(metrics[key])) if key in metrics else "–"


def _percent(metrics: Metrics, key: str) -> str:
    return percent(metrics[key]) if key in metrics else "–"


def _within(metrics: Metrics, key: str) -> str:
    """A figure, and its interval where it has one."""
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    inside = "" if low is None or high is None else f" ({number(low, 3)} to {number(high, 3)})"
    return _number(metrics, key) + inside
