"""The whole dictionary at a glance: headline figures beside their nulls, curves over blocks, the map of all entries.

Pure aggregation of `layers.json`, `metrics.json` and narrow columns; half a million entries fit into a few megabytes of
bytes that the page's canvas paints. Intervals are those that the stage wrote; none is made up here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from nlae.dictionary.browse.summary import percent, pooled
from nlae.dictionary.entries import Dictionary
from nlae.dictionary.schema import LABELS, SIGNS
from nlae.page import Series, line_chart
from nlae.page.environment import number

NONE = 255  # byte of an entry that is not there, and of a score that was not measured
SCALE = 200  # bytes per unit of AUROC
KINDS = ("not scored", "does not pass", *LABELS)  # bytes of the map's second measure
_ROTATED = "Rotated"
# name, title, how to read it, (line, column of `layers.json`), name of the upright axis; the first line is the subject
CURVES: tuple[tuple[str, str, str, tuple[tuple[str, str], ...], str], ...] = (
    (
        "passing",
        "Entries that pass, by block",
        "Bars are 95 % intervals over works. Rotated neurons are random directions that went through everything; false "
        "is the share of another entry's words among what passes.",
        (("Neurons", "pass_share"), (_ROTATED, "rotated_share"), ("False", "false_share")),
        "share that passes",
    ),
    (
        "auroc",
        "How well the words predict",
        "Median AUROC on works that chose nothing. The skyline is the entry's own vector in place of words; the table "
        "knows only the last token; the unembedding's words are read as descriptions are.",
        (("Words", "median_auroc"), ("Skyline", "skyline"), ("Last token", "last_token"), ("Unembedding", "lens")),
        "median AUROC",
    ),
    (
        "labels",
        "Tokens and contexts, by block",
        "Context: the words tell more than permuted tokens and a last-token table do. Token: they pass without that.",
        (("Context", "context_share"), ("Token", "token_share")),
        "share of entries",
    ),
    (
        "specialised",
        "Specialised entries, by block",
        "Share of entries whose strongest contexts form one group, of at least half of them, and no second one.",
        (("Neurons", "specialised"), (_ROTATED, "specialised_rotated")),
        "share",
    ),
)


@dataclass(frozen=True)
class Headline:
    """One figure, and what it has to be compared with."""

    label: str
    value: str
    under: str


def headlines(dictionary: Dictionary, metrics: Mapping[str, float]) -> list[Headline]:
    """The figures at the top: what passes, what of the nulls does, how well words predict, how many are contexts."""
    reader = dictionary.facts.get("reader", "bag")

    def figure(name: str) -> float | None:
        return metrics.get(f"{reader}/{name}", metrics.get(name, pooled(dictionary.layers, name)))

    low, high = metrics.get(f"{reader}/pass_share_low"), metrics.get(f"{reader}/pass_share_high")
    held_out = f"{reader}/pass_share" in metrics
    within = "" if low is None or high is None else f", {percent(low)} to {percent(high)}"
    under = (f"of neurons no reader was fitted on{within}; " if held_out else "") + _counted(dictionary)
    beside = [
        f"{name} {number(metrics.get(f'{key}/median_auroc', pooled(dictionary.layers, key)))}"
        for name, key in (("skyline", "skyline"), ("last token", "last_token"), ("unembedding", "lens"))
    ]
    shown = [
        Headline("have a description that holds", percent(figure("pass_share")), under),
        Headline("of rotated neurons", percent(figure("rotated_share")), "random directions, through everything"),
        Headline(
            "of what passes is false", percent(figure("false_share")), "another entry's words in the place of its own"
        ),
        Headline("median AUROC", number(figure("median_auroc")), ", ".join(beside)),
        Headline(
            "tell more than a token",
            percent(figure("context_share")),
            f"of all entries; {percent(figure('token_share'))} are told by tokens alone",
        ),
    ]
    return [headline for headline in shown if headline.value != "–"]


def _counted(dictionary: Dictionary) -> str:
    frame = dictionary.overview
    neurons = frame.select(pl.struct("layer", "neuron").n_unique()).item() if frame.height else 0
    both, kind = (
        "both signs of " * (frame.height > neurons),
        "directions" if "directions" in dictionary.facts else "neurons",
    )
    return f"{int(frame['passes'].sum() or 0):,} of {frame.height:,} ({both}{neurons:,} {kind})"


def drawings(dictionary: Dictionary) -> list[dict[str, Any]]:
    """Curves over blocks, laid out wide and narrow; empty ones are left out."""
    layers = sorted(dictionary.layers, key=lambda row: int(row["layer"]))
    made = []
    for name, title, about, keys, upright in CURVES:
        lines = [_curve(layers, line, key, i) for i, (line, key) in enumerate(keys)]
        lines = [line for line in lines if line.points]
        options: dict[str, Any] = {"x_label": "block", "y_label": upright, "zero": name != "auroc"}
        wide, narrow = (line_chart(lines, width=w, height=h, **options) for w, h in ((560, 280), (340, 240)))
        if lines:
            drawn = {"wide": wide, "narrow": narrow, "legend": lines}
            made.append({"name": name, "title": title, "about": about, **drawn})
    return made


def _curve(layers: Sequence[dict[str, Any]], name: str, key: str, place: int) -> Series:
    rows = [row for row in layers if row.get(key) is not None]
    pairs = [(row.get(f"{key}_low"), row.get(f"{key}_high")) for row in rows]
    intervals = [None if low is None or high is None else (float(low), float(high)) for low, high in pairs]
    points = [(float(row["layer"]), float(row[key])) for row in rows]
    dots = not place and len(rows) <= 48
    return Series(name, points, own=not place, dashed=place == 2, dots=dots, intervals=intervals)


def map_data(dictionary: Dictionary) -> dict[str, Any]:
    """The map: for each block its width, and per measure one byte for every entry, base64.

    Bytes lie block by block, the `+` sign of all neurons first. `auroc` is AUROC · 200, `kind` a place in `KINDS`; 255
    is "not there".
    """
    frame = dictionary.overview
    layers: list[dict[str, int]] = []
    parts: dict[str, list[npt.NDArray[np.uint8]]] = {"auroc": [], "kind": []}
    for (layer,), part in frame.partition_by("layer", as_dict=True, maintain_order=True).items():
        neurons = part["neuron"].to_numpy()
        width = int(neurons.max()) + 1
        place = (part["sign"] == SIGNS[1]).to_numpy() * width + neurons
        layers.append({"layer": int(layer), "width": width})
        for name, values in _bytes(part).items():
            row = np.full(2 * width, NONE, dtype=np.uint8)
            row[place] = values
            parts[name].append(row)
    joined = {name: np.concatenate(rows).tobytes() if rows else b"" for name, rows in parts.items()}
    return {"layers": layers, **{name: base64.b64encode(held).decode("ascii") for name, held in joined.items()}}


def _bytes(part: pl.DataFrame) -> dict[str, npt.NDArray[np.uint8]]:
    auroc = part["auroc"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    scored = np.isfinite(auroc)
    labels = part["label"].to_numpy()
    kind = np.where(part["passes"].to_numpy(), np.where(labels == LABELS[1], 3, 2), np.where(scored, 1, 0))
    return {
        "auroc": np.where(scored, np.rint(np.where(scored, auroc, 0) * SCALE), NONE).astype(np.uint8),
        "kind": kind.astype(np.uint8),
    }
