"""One neuron for a reader: both signs, each score beside its nulls, where it fires in unseen works, and exemplars.

Of unseen windows every token's activation is kept, so each of them is shaded; of an exemplar only the peak is marked,
since the scan keeps nothing else of it.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from nlae.dictionary.entries import Dictionary
from nlae.dictionary.schema import COLUMNS, Entry
from nlae.page.charts import Bar, DotChart, PlacedBar, Tick
from nlae.page.environment import number

BEFORE, AFTER = 32, 14  # tokens around a peak
LEVELS = 6  # shades of a mark
# what the description's AUROC stands beside, in the order of the page
BESIDE = ("nearest", "mismatched", "permuted", "last_token", "token_list", "lens", "skyline")
FIGURES = (
    "embedding", "detection", "spearman", "r2", "r2_linear", "output_score", "frequency", "kurtosis", "groups", "split",
)  # fmt: skip
# what `reason` holds, in words
WHY = {
    "few contexts": "too few contexts to score",
    "auroc": "its words predict too little",
    "bar": "mismatched words do as well",
}
_SETTING = re.compile(r"(after|near|within) (?!or )")  # a phrase that begins with a setting names no tokens


def side(dictionary: Dictionary, entry: Entry) -> dict[str, Any]:
    """Everything that the page shows of one entry."""
    figures = [(COLUMNS[name].label, COLUMNS[name].about, _figure(entry, name)) for name in FIGURES]
    return {
        "entry": entry,
        "why": "" if entry.passes else WHY.get(entry.reason, entry.reason),
        "chart": score_chart(entry),
        "figures": [figure for figure in figures if figure[2]],
        "unseen": windows(dictionary, entry),
        "exemplars": exemplars(dictionary, entry),
        "words": [(COLUMNS[name].label, getattr(entry, name)) for name in ("tokens", "promoted", "suppressed")],
    }


def lead(description: str) -> str:
    """What a page puts before a description, which itself is shown as it was scored."""
    return "fires" if _SETTING.match(description) else "fires on"


def _figure(entry: Entry, name: str) -> str:
    value = getattr(entry, name)
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return ""
    if name == "frequency":
        return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"
    if name == "groups":
        return f"{value}, specialised" if entry.specialised else str(value)
    return number(float(value))


def pieces(tokens: Sequence[str]) -> list[tuple[bool, str]]:
    """Tokens, each once: whether a space leads it, and its text with line breaks and nothing made visible."""
    found = []
    for token in dict.fromkeys(tokens):
        shown = token.removeprefix(" ").replace("\r", "").replace("\n", "↵").replace("\t", "⇥")
        found.append((token.startswith(" ") and bool(shown), shown or ("␣" if token else "∅")))
    return found


def score_chart(entry: Entry, width: float = 384.0) -> DotChart | None:
    """The description's AUROC beside its nulls and baselines, on an axis that always shows chance and 1."""
    if entry.auroc is None:
        return None
    bars = [Bar("This description" if entry.passes else "The best words tried", entry.auroc, own=True)]
    bars += [Bar(COLUMNS[name].label, getattr(entry, name)) for name in BESIDE if getattr(entry, name) is not None]
    low = min(0.45, *(bar.value - 0.02 for bar in bars))
    left, right, step, top = 142.0, width - 46.0, 24.0, 30.0

    def x(value: float) -> float:
        return round(left + (value - low) / (1.0 - low) * (right - left), 1)

    ticks = [Tick(x(value), number(value, 1), value == 0.5) for value in (0.5, 0.7, 0.9)]
    placed = [PlacedBar(bar, top + step * (i + 0.5), x(bar.value), None, None) for i, bar in enumerate(bars)]
    return DotChart(width, top + step * len(bars) + 6, left, right, False, ticks, placed)


def windows(dictionary: Dictionary, entry: Entry) -> list[dict[str, Any]]:
    """Unseen contexts: each token with its shade (0 to `LEVELS`) and value, the largest value, and the source."""
    found = []
    for item in dictionary.unseen(entry):
        levels = [round(LEVELS * level / 255) for level in item.levels]
        tokens = zip(map(_shaded, item.tokens, levels), levels, map(number, item.values), strict=True)
        found.append({"tokens": list(tokens), "value": max(item.values, default=0.0), "source": item.source})
    return found


def exemplars(dictionary: Dictionary, entry: Entry) -> list[dict[str, Any]]:
    """The strongest contexts, strongest first, in the form of `windows`, the peak alone with a shade and a value."""
    found = []
    places = zip(entry.exemplar_value, entry.exemplar_document, entry.exemplar_position, strict=True)
    for value, document, position in places:
        context, level = dictionary.context(document), max(1, math.ceil(LEVELS * value / max(entry.exemplar_value)))
        start, end = max(0, position - BEFORE), position + 1 + AFTER
        before, after = "".join(context.tokens[start:position]), "".join(context.tokens[position + 1 : end])
        peak = (_shaded(context.tokens[position], level), level, number(value))
        tokens = [(before.lstrip(), 0, ""), peak, (after, 0, "")]
        found.append({"tokens": tokens, "value": value, "source": context.source})
    return found


def _shaded(text: str, level: int) -> str:
    """A line break that is shaded can be seen."""
    return text.replace("\n", "↵\n") if level else text
