"""One neuron for a reader: both signs, each score beside its null, the histogram, and the contexts it fires in.

Only the peak of each exemplar is marked: the scan keeps the strongest token of a passage, not the others' activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nlae.dictionary.browse.columns import label
from nlae.dictionary.entries import Dictionary
from nlae.dictionary.schema import Entry
from nlae.errors import NlaeError
from nlae.page.charts import Bar, DotChart, PlacedBar, Tick, nice
from nlae.page.environment import number

BEFORE, AFTER = 32, 14  # tokens around a peak
LEVELS = 6  # shades of a mark
# what the description's AUROC stands beside, in the order of the page
BESIDE = ("prediction_null", "shuffled", "last_token", "token_list", "context_only", "verbalized", "skyline")
# (value, what it stands beside), shown as figures
FIGURES = (
    ("prediction_quantile", None),
    ("spearman", None),
    ("spearman_quantile", None),
    ("share_of_skyline", None),
    ("r2", "r2_ceiling"),
    ("detection", None),
    ("fuzzing", None),
    ("output_score", None),
    ("frequency", None),
    ("kurtosis", None),
)
# what `reason` holds, in words
WHY = {
    "few contexts": "too few contexts to score",
    "prediction": "predicts too little",
    "last token": "the last token tells as much",
    "false discovery": "decoys or other entries' words do as well",
}


@dataclass(frozen=True)
class Exemplar:
    """A context: text before the peak, the peak, text after it; how strong (1 to `LEVELS`), and from where."""

    before: str
    peak: str
    after: str
    value: float
    level: int
    source: str


@dataclass(frozen=True)
class Histogram:
    """Bars in pixels (x, y, width, height, what it says), ticks of the axis, and the drawing's size."""

    bars: list[tuple[float, float, float, float, str]]
    ticks: list[Tick]
    width: float
    height: float
    base: float


def side(dictionary: Dictionary, entry: Entry) -> dict[str, Any]:
    """Everything that the page shows of one entry."""
    figures = [(label(name), _figure(name, getattr(entry, name)), _beside(entry, null)) for name, null in FIGURES]
    return {
        "entry": entry,
        "why": "" if entry.passes else WHY.get(entry.reason or "", entry.reason or ""),
        "chart": score_chart(entry),
        "figures": [(name, value, beside) for name, value, beside in figures if value != "–"],
        "histogram": histogram(entry, dictionary.facts.get("histogram_edges") or []),
        "exemplars": exemplars(dictionary, entry),
        "words": [
            (label(name), [piece(token) for token in dict.fromkeys(getattr(entry, name) or [])])
            for name in ("tokens", "promoted", "suppressed")
        ],
    }


def _figure(name: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    if name == "frequency":
        return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"
    return number(float(value))


def _beside(entry: Entry, null: str | None) -> str:
    return f"ceiling {number(getattr(entry, null))}" if null and getattr(entry, null) is not None else ""


def piece(token: str) -> tuple[bool, str]:
    """A token for a reader: whether a space leads it, and its text with line breaks and nothing made visible."""
    text = token[1:] if token.startswith(" ") else token
    shown = text.replace("\r", "").replace("\n", "↵").replace("\t", "⇥")
    return token.startswith(" ") and bool(shown), shown or ("␣" if token else "∅")


def score_chart(entry: Entry, width: float = 384.0) -> DotChart | None:
    """The description's AUROC beside its null and baselines, on an axis that always shows chance and 1."""
    if entry.prediction is None:
        return None
    own = Bar("This description" if entry.passes else "The best candidate", entry.prediction, own=True)
    bars = [own, *(Bar(label(name), getattr(entry, name)) for name in BESIDE if getattr(entry, name) is not None)]
    low = min(0.45, *(bar.value - 0.02 for bar in bars))
    left, right, step, top = 142.0, width - 46.0, 24.0, 30.0

    def x(value: float) -> float:
        return round(left + (value - low) / (1.0 - low) * (right - left), 1)

    ticks = [
        Tick(x(value), number(value, 2 if value == 0.25 else 1), value == 0.5)
        for value in (0.25, 0.5, 0.7, 0.9)
        if value >= low
    ]
    placed = [PlacedBar(bar, top + step * (i + 0.5), x(bar.value), None, None) for i, bar in enumerate(bars)]
    return DotChart(width, top + step * len(bars) + 6, left, right, False, ticks, placed)


def histogram(entry: Entry, edges: list[float], width: float = 384.0, height: float = 126.0) -> Histogram | None:
    """Counts in bars whose heights are logarithmic: the tail is what a neuron is known by."""
    counts = list(entry.histogram or [])
    if len(edges) != len(counts) + 1 or not sum(counts):
        return None
    low, high, base = float(edges[0]), float(edges[-1]), height - 22.0
    most = math.log1p(max(counts))

    def x(value: float) -> float:
        return round((value - low) / (high - low) * width, 1)

    bars = []
    for i, count in enumerate(counts):
        tall = round(math.log1p(count) / most * (base - 6), 1)
        span = f"{number(float(edges[i]))} to {number(float(edges[i + 1]))}: {count:,}"
        if count:
            bars.append(
                (
                    x(edges[i]) + 0.5,
                    round(base - tall, 1),
                    max(round(x(edges[i + 1]) - x(edges[i]) - 1, 1), 0.5),
                    tall,
                    span,
                )
            )
    inside = [value for value in nice(low, high, 8) if low < value < high]
    return Histogram(bars, [Tick(x(value), number(value, 0), value == 0) for value in inside], width, height, base)


def exemplars(dictionary: Dictionary, entry: Entry) -> list[Exemplar]:
    """The strongest contexts, strongest first; those that the folder holds no passage for are left out."""
    found = []
    strongest = max(entry.exemplar_value or [0.0])
    for value, document, position in zip(
        entry.exemplar_value or [], entry.exemplar_document or [], entry.exemplar_position or [], strict=False
    ):
        try:
            context = dictionary.context(document) if document >= 0 else None
        except NlaeError:
            continue
        if context is None or not 0 <= position < len(context.tokens):
            continue
        start, end = max(0, position - BEFORE), position + 1 + AFTER
        before, after = "".join(context.tokens[start:position]), "".join(context.tokens[position + 1 : end])
        peak = context.tokens[position]
        if peak.strip() and peak[0].isspace():  # a mark around a space says nothing
            before, peak = before + peak[: len(peak) - len(peak.lstrip())], peak.lstrip()
        level = max(1, math.ceil(LEVELS * value / strongest)) if strongest > 0 else 1
        found.append(
            Exemplar(
                "…" + before if start else before.lstrip(),
                peak if peak.strip() else peak.replace("\n", "↵\n").replace(" ", "␣"),
                after + ("…" if end < len(context.tokens) else ""),
                float(value),
                min(level, LEVELS),
                context.source,
            )
        )
    return found


def in_common(one: tuple[Entry, ...], other: tuple[Entry, ...]) -> list[tuple[str, list[tuple[bool, str]]]]:
    """Tokens that two neurons share, by what they do with them."""
    shared = []
    for name in ("tokens", "promoted", "suppressed"):
        mine, theirs = (
            {token for entry in entries for token in getattr(entry, name) or []} for entries in (one, other)
        )
        if both := sorted(mine & theirs):
            shared.append((label(name), [piece(token) for token in both]))
    return shared
