"""What a dictionary's flat numbers say beside their nulls, as small tables that every summary page shows.

A table is there where its numbers are: a dictionary that nobody judged or steered with has fewer.
"""

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
JUDGED = (
    ("", "The words"),
    ("_passing", "The words, where they pass"),
    ("_mismatched", "Another entry's words"),
    ("_token_list", "List of its tokens"),
)
STEERED = (("output_score", "Its tokens"), ("output_score/null", "Another neuron's tokens"))
# columns of `layers.json` and their names in the table of blocks
SHARES = {f"{name}_share": name for name in ("pass", "rotated", "false", "context", "token")} | {
    "specialised": "specialised"
}
MEDIANS = {"median_auroc": "AUROC", "last_token": "last token", "skyline": "skyline"}


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


def tables(metrics: Metrics, reader: str = "bag") -> list[Table]:
    """Every table that the numbers of `metrics.json` allow; those of a reader's words have its name before them."""
    medians = ((reader, "The words"), *AUROCS)
    made = (
        Table(
            "passing",
            "What passes, and what should not",
            "Share of all entries of held-out neurons on works that chose nothing. Rotated neurons are random "
            "directions of the same space, sent through everything. Brackets hold 95\N{NO-BREAK SPACE}% intervals over "
            "works.",
            ("", "share"),
            _rows(metrics, [(f"{reader}/{key}", label) for key, label in PASSING], percent),
        ),
        Table(
            "auroc",
            "How well the words predict",
            "Median over scored entries of how well contexts that fire are told from others; 0.5 is chance.",
            ("", "AUROC"),
            _rows(metrics, [(f"{key}/median_auroc", label) for key, label in medians]),
        ),
        Table(
            "judge",
            "What judges make of the words",
            "Judges that had no part in any fit say by the words alone which contexts fire: AUROC, of which 0.5 is "
            "chance. One that rates another entry's words as high hears nothing.",
            ("", "embedding", "language model"),
            [
                (label, *(_within(metrics, f"{judge}/detection{text}") for judge in ("embedding", "judge")))
                for text, label in JUDGED
                if f"embedding/detection{text}" in metrics or f"judge/detection{text}" in metrics
            ],
        ),
        Table(
            "steering",
            "What steering with entries does",
            "How often steering raises the tokens that an entry promotes more than random directions of the same "
            "effect do; 0.5 is chance. Near the last block this is close to a tautology.",
            ("", "mean output score"),
            _rows(metrics, STEERED),
        ),
    )
    return [table for table in made if table.rows]


def blocks(layers: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each block of `layers.json`."""
    rows: Rows = [
        (
            f"block\N{NO-BREAK SPACE}{row['layer']}",
            f"{row['neurons']:,}",
            *(_within(row, key, percent) for key in SHARES),
            *(_within(row, key, number) for key in MEDIANS),
        )
        for row in sorted(layers, key=lambda row: int(row["layer"]))
    ]
    about = "Shares of all entries of a block, medians of its scored ones; rotated and false are of held-out neurons."
    return Table("blocks", "Blocks", about, ("", "neurons", *SHARES.values(), *MEDIANS.values()), rows)


def _rows(metrics: Metrics, keys: Sequence[tuple[str, str]], show: Callable[[float], str] = _score) -> Rows:
    return [(label, _within(metrics, key, show)) for key, label in keys if key in metrics]


def _within(metrics: Mapping[str, Any], key: str, show: Callable[[float], str] = _score) -> str:
    """A figure, and its interval where it has one; a dash where there is none."""
    value, low, high = (metrics.get(f"{key}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    return show(value) + ("" if low is None or high is None else f" ({show(low)} to {show(high)})")
