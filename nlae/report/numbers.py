"""The evaluation's numbers as the page shows them: headline, controls, a verdict in plain words, and a table.

A control counts as beaten only when the interval of the paired difference lies above zero; without an interval nothing
is claimed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from nlae.page import Bar
from nlae.page.environment import number
from nlae.report.meanings import label, meaning, order

SUFFIXES = ("_low", "_high", "_gap", "_gap_low", "_gap_high", "_null")
CONTROLS = (
    "teacher", "last_token", "pca_1", "pca_4", "pca_16", "pca_64", "mean", "empty", "no_injection", "word_shuffle",
    "no_quotes", "shuffled",
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One number with its interval, where it has one.

    Attributes:
        key: of the metric.
        label: its name for a reader.
        value: the number.
        low: end of the 95\N{NO-BREAK SPACE}% interval.
        high: end of the 95\N{NO-BREAK SPACE}% interval.
        meaning: one line.
        null: the same where words and activation do not belong together, where that was measured.
    """

    key: str
    label: str
    value: float
    low: float | None
    high: float | None
    meaning: str
    null: float | None = None

    @property
    def interval(self) -> str:
        """`0.28 to 0.34`, or nothing."""
        return "" if self.low is None or self.high is None else f"{number(self.low)} to {number(self.high)}"


def figure(metrics: dict[str, float], key: str) -> Figure | None:
    """The figure of `key`, None when it was not measured."""
    if key not in metrics:
        return None
    low, high, null = (metrics.get(f"{key}_{end}") for end in ("low", "high", "null"))
    return Figure(key, label(key), metrics[key], low, high, meaning(key), null)


def headline(metrics: dict[str, float]) -> Figure | None:
    """FVE, or the mean cosine of a checkpoint that has no training mean."""
    return figure(metrics, "fve") or figure(metrics, "cosine") or figure(metrics, "cosine_mean")


def bars(metrics: dict[str, float]) -> list[Bar]:
    """The round trip and its controls, best control first."""
    own = headline(metrics)
    folder = control_folder(metrics)
    names = [
        *CONTROLS,
        *(k.removeprefix(f"{folder}/") for k in metrics if _is_figure(k, metrics) and k.startswith(f"{folder}/")),
    ]
    others = [found for name in dict.fromkeys(names) if (found := figure(metrics, f"{folder}/{name}"))]
    others = [o for o in others if math.isfinite(o.value) and not o.key.endswith(("_rows", "_seen"))]
    others.sort(key=lambda found: -found.value)
    rows = [Bar(o.label, o.value, o.low, o.high, hint=o.meaning) for o in others]
    return ([Bar("The words, round trip", own.value, own.low, own.high, own=True)] if own else []) + rows


def control_folder(metrics: dict[str, float]) -> str:
    """Prefix of the controls' keys."""
    return "control" if any(key.startswith("control/") for key in metrics) else "control_cosine"


def verdict(metrics: dict[str, float]) -> list[str]:
    """What the numbers say, in sentences; each claim rests on a paired interval."""
    folder = control_folder(metrics)
    known = [name for name in CONTROLS if f"{folder}/{name}" in metrics]
    if not known:
        return ["No control was measured, so the figure says nothing by itself."]
    if not any(f"{folder}/{name}_gap_low" in metrics for name in known):
        return ["There is no interval, because the rows come from too few source works; no comparison is claimed."]
    above = [n for n in known if metrics.get(f"{folder}/{n}_gap_low", -1) > 0]
    below = [n for n in known if metrics.get(f"{folder}/{n}_gap_high", 1) < 0]
    open_ = [n for n in known if n not in above and n not in below]
    lines = []
    for names, text in (
        (above, "The words do better than {}: the interval of the paired difference lies above zero."),
        (below, "They do worse than {}."),
        (open_, "Between them and {} the interval leaves it open."),
    ):
        if names:
            lines.append(text.format(listed([name_of(name) for name in names])))
    return lines


def quote_line(metrics: dict[str, float]) -> str:
    """The shortest quote that recovers more than the words, in one sentence; "" without intervals to say so with."""
    prefix = "frontier/quote_" if "frontier/fve" in metrics else "frontier_cosine/quote_"
    own = metrics.get("frontier/fve", metrics.get("frontier_cosine/explanation"))
    pattern = re.compile(re.escape(prefix) + r"(\d+)_gap_high")
    ends = {int(match.group(1)): metrics[key] for key in metrics if (match := pattern.fullmatch(key))}
    if own is None or not ends:
        return ""
    better = sorted(n for n, end in ends.items() if end < 0)
    if not better:
        return f"No quote of up to {max(ends)} tokens, read by the same architecture, clearly beats the words."
    n = better[0]
    what = "the last token" if n == 1 else f"the last {n} tokens"
    return (
        f"Quoting {what} of the text, read by the same architecture, recovers more "
        f"({number(metrics[f'{prefix}{n}'])} against {number(own)})."
    )


def rows(metrics: dict[str, float]) -> list[Figure]:
    """Every figure for the table, intervals folded in, in reading order."""
    keys = sorted((k for k in metrics if _is_figure(k, metrics)), key=lambda k: (*order(k), k))
    return [found for key in keys if (found := figure(metrics, key))]


def name_of(control: str) -> str:
    """A control within a sentence."""
    fixed = {
        "teacher": "the teacher's text",
        "last_token": "the last-token table",
        "mean": "the mean",
        "empty": "what the reader makes of no text",
        "no_injection": "texts written without the activation",
        "shuffled": "the shuffled pairing",
        "word_shuffle": "the same words in random order",
        "no_quotes": "the same texts without their quotes",
    }
    if control.startswith("pca_"):
        count = control.removeprefix("pca_")
        return f"{count} PCA number{'' if count == '1' else 's'}"
    return fixed.get(control, control)


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is_figure(key: str, metrics: dict[str, float]) -> bool:
    return not any(key.endswith(suffix) and key.removesuffix(suffix) in metrics for suffix in SUFFIXES)
