"""The whole dictionary at a glance: headline figures, curves over layers, distributions, and the map of all entries.

Pure aggregation of `layers.json` and of narrow columns; half a million entries fit into a few megabytes of bytes that
the page's canvas paints. Intervals are those that the stage wrote; none is made up here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from nlae.dictionary.entries import Dictionary
from nlae.dictionary.schema import SIGNS
from nlae.dictionary.summary import percent, pooled
from nlae.page import Series, line_chart
from nlae.page.environment import number

NONE = 255  # byte of a score that was not measured
SCALE = 200  # bytes per unit of AUROC
DECADES = 6  # of frequency that the map tells apart
BIN = 0.025


@dataclass(frozen=True)
class Headline:
    """One figure, and what it has to be compared with."""

    label: str
    value: str
    under: str


def headlines(dictionary: Dictionary) -> list[Headline]:
    """The figures at the top: what passes beside its decoys, what survives the words, what is specialised."""
    frame = dictionary.overview
    total = frame.height
    neurons = frame.select(pl.struct("layer", "neuron").n_unique()).item() if total else 0
    passing, kind = int(frame["passes"].sum() or 0), "directions" if "directions" in dictionary.facts else "neurons"
    shown = [
        Headline(
            "entries with a description",
            share(passing / total if total else None),
            f"{passing:,} of {total:,} ({'both signs of ' if total > neurons else ''}{neurons:,} {kind})",
        )
    ]
    decoys = pooled(dictionary.layers, "pass_rate_decoy", "null")
    shuffled = pooled(dictionary.layers, "pass_rate_shuffled")
    if decoys is not None:
        under = "that set no rule pass in the entries' place" + (
            f"; other entries' words, drawn anew: {share(shuffled)}" if shuffled is not None else ""
        )
        shown.append(Headline("of decoys", share(decoys), under))
    median = frame.filter("passes")["prediction"].median()
    if isinstance(median, float):
        null = frame.filter("passes")["prediction_null"].median()
        beside = f"their decoys {number(null)}" if isinstance(null, float) else "0.5 is chance"
        shown.append(Headline("median AUROC where it passes", number(median), beside))
    left = frame["share_of_skyline"].median()
    if isinstance(left, float):
        shown.append(
            Headline(
                "of the skyline survives the words", share(left), "median over entries whose skyline is above chance"
            )
        )
    if total:
        special = frame["specialised"].mean()
        assert isinstance(special, float)
        null = pooled(dictionary.layers, "specialised_decoy")
        under = "one cluster holds at least half of the strongest contexts" + (
            f"; decoys {share(null)}" if null is not None else ""
        )
        shown.append(Headline("specialised", share(special), under))
    return shown


def share(value: float | None) -> str:
    """A share as a percentage for a reader."""
    if value is None:
        return "–"
    return percent(value) if value < 0.0995 else f"{100 * value:.0f}\N{NO-BREAK SPACE}%"


def drawings(dictionary: Dictionary) -> list[dict[str, Any]]:
    """Curves over layers and the two distributions, laid out wide and narrow; empty ones are left out."""
    layers = sorted(dictionary.layers, key=lambda row: int(row["layer"]))
    made = [
        _drawing(
            "passing",
            "Entries that pass, by layer",
            "Bars are 95 % intervals over neurons, the contexts held fixed. Nulls only went through the rule: other "
            "decoys than those that helped to set it, rotated directions, other entries' descriptions.",
            [
                _curve(layers, "Entries", "pass_rate", own=True),
                _curve(layers, "Rotated", "pass_rate_rotated"),
                _curve(layers, "Decoys", "pass_rate_decoy", dashed=True),
                _curve(layers, "Shuffled", "pass_rate_shuffled"),
            ],
            x_label="layer",
            y_label="share that passes",
            zero=True,
        ),
        _drawing(
            "auroc",
            "How well the words predict",
            "AUROC on documents that chose nothing, of all scored entries and of their decoys.",
            [
                Series("Entries", _density(dictionary.overview["prediction"]), own=True),
                Series("Decoys", _density(dictionary.overview["prediction_null"]), dashed=True),
            ],
            x_label="AUROC",
            y_label="share of entries",
            zero=True,
            marks=((0.5, "chance"),),
        ),
        _drawing(
            "median",
            "Words, the skyline and the token table",
            "Median AUROC by layer. The skyline is a mean exemplar vector in place of words; the table knows only "
            "the last token.",
            [
                _curve(layers, "Words", "prediction", own=True),
                _curve(layers, "Skyline", "skyline"),
                _curve(layers, "Last token", "last_token", dashed=True),
            ],
            x_label="layer",
            y_label="median AUROC",
        ),
        _drawing(
            "specialised",
            "Specialised entries, by layer",
            "Share of entries whose strongest contexts form one cluster, of at least half of them, and no second one.",
            [
                _curve(layers, "Entries", "specialised", own=True),
                _curve(layers, "Decoys", "specialised_decoy", dashed=True),
            ],
            x_label="layer",
            y_label="share",
            zero=True,
        ),
    ]
    return [drawing for drawing in made if drawing["legend"]]


def _drawing(name: str, title: str, about: str, lines: list[Series], **options: Any) -> dict[str, Any]:
    lines = [line for line in lines if line.points]
    wide, narrow = (
        line_chart(lines, width=width, height=height, **options) for width, height in ((560, 280), (340, 240))
    )
    return {"name": name, "title": title, "about": about, "wide": wide, "narrow": narrow, "legend": lines}


def _curve(layers: Sequence[dict[str, Any]], name: str, key: str, own: bool = False, dashed: bool = False) -> Series:
    rows = [row for row in layers if row.get(key) is not None]
    low, high = f"{key}_low", f"{key}_high"
    intervals = [
        (float(row[low]), float(row[high])) if row.get(low) is not None and row.get(high) is not None else None
        for row in rows
    ]
    points = [(float(row["layer"]), float(row[key])) for row in rows]
    return Series(name, points, own=own, dashed=dashed, dots=own and len(rows) <= 48, intervals=intervals)


def _density(values: pl.Series) -> list[tuple[float, float]]:
    """Share of values in each bin, at the bin's middle; from the first to the last bin that holds any."""
    found = values.drop_nulls().to_numpy()
    if not len(found):
        return []
    counts, edges = np.histogram(found, bins=np.arange(0, 1 + BIN / 2, BIN))
    inside = np.flatnonzero(counts)
    return [
        (round(float(edges[i] + BIN / 2), 4), float(counts[i] / counts.sum())) for i in range(inside[0], inside[-1] + 1)
    ]


def map_data(dictionary: Dictionary) -> dict[str, Any]:
    """The map: for each layer its width, and per measure one byte for every entry, base64.

    Bytes lie layer by layer, the `+` sign of all neurons first. `prediction` is AUROC · 200, `frequency` covers six
    decades below 1, `clusters` is itself; 255 is "not measured".
    """
    frame = dictionary.overview
    layers: list[dict[str, int]] = []
    parts: dict[str, list[npt.NDArray[np.uint8]]] = {
        name: [] for name in ("prediction", "passes", "clusters", "frequency")
    }
    for (layer,), part in frame.partition_by("layer", as_dict=True, maintain_order=True).items():
        neurons = part["neuron"].to_numpy()
        width = int(neurons.max()) + 1
        place = (part["sign"] == SIGNS[1]).to_numpy() * width + neurons
        layers.append({"layer": int(layer), "width": width})
        for name, values in _bytes(part).items():
            row = np.full(2 * width, NONE, dtype=np.uint8)
            row[place] = values
            parts[name].append(row)
    return {
        "layers": layers,
        **{
            name: base64.b64encode(np.concatenate(rows).tobytes() if rows else b"").decode("ascii")
            for name, rows in parts.items()
        },
    }


def _bytes(part: pl.DataFrame) -> dict[str, npt.NDArray[np.uint8]]:
    prediction = part["prediction"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    scored = np.isfinite(prediction)
    frequency = part["frequency"].cast(pl.Float64).fill_null(0.0).to_numpy()
    decades = np.log10(np.clip(frequency, 10.0**-DECADES, 1.0)) / DECADES + 1
    return {
        "prediction": np.where(scored, np.rint(np.where(scored, prediction, 0) * SCALE), NONE).astype(np.uint8),
        "passes": part["passes"].fill_null(False).cast(pl.UInt8).to_numpy(),
        "clusters": part["clusters"].fill_null(NONE).clip(0, NONE).cast(pl.UInt8).to_numpy(),
        "frequency": np.rint(decades * SCALE).astype(np.uint8),
    }
