"""The whole dictionary at a glance: headline figures beside their nulls, the map, tables; also as a file.

Pure aggregation of `layers.json`, `metrics.json` and narrow columns; half a million entries fit into a few megabytes of
bytes that the page's canvas paints. Intervals are those that the stage wrote; none is made up here.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from nlae.dictionary.browse.neuron import lead
from nlae.dictionary.browse.summary import blocks, percent, tables
from nlae.dictionary.entries import OVERVIEW, Dictionary
from nlae.dictionary.query import named
from nlae.dictionary.schema import GRADES, LABELS, SIGNS, Entry
from nlae.page import render, write
from nlae.page.environment import number

TEMPLATES = Path(__file__).parent / "templates"
NONE = 255  # byte of an entry that is not there, and of a score that was not measured
SCALE = 200  # bytes per unit of AUROC
KINDS = ("not scored", "does not pass", *LABELS)  # bytes of the map's second measure
PAIRS = 12  # offered for comparison


def glance(dictionary: Dictionary, metrics: Mapping[str, float]) -> dict[str, Any]:
    """What an overview shows, on the server and as one file."""
    facts, reader = dictionary.facts, dictionary.facts.get("reader", "bag")
    return {
        "headlines": headlines(dictionary, metrics, reader),
        "rules": {"bar": facts.get("bar"), "min_auroc": facts.get("min_auroc", GRADES["fair"])},
        "tables": tables(metrics, reader),
        "blocks": blocks(dictionary.layers),
        "pairs": pairs(dictionary),
    }


def write_overview(
    dictionary: Dictionary, folder: Path | None = None, metrics: Mapping[str, float] | None = None
) -> Path:
    """Write the overview as one file, for which neither server nor network is needed; returns its path.

    It lies in `folder`, else with the dictionary, and shows `metrics`, else those that lie there.
    """
    name = str(dictionary.facts.get("target") or "a language model")
    page = render(
        "static.html.j2",
        TEMPLATES,
        title=f"{name}: dictionary of neurons",
        name=name,
        made_up=bool(dictionary.facts.get("made_up")),
        data=map_data(dictionary),
        lead=lead,
        live=False,
        anyone=None,
        **glance(dictionary, dictionary.metrics if metrics is None else metrics),
    )
    return write((folder or dictionary.folder) / OVERVIEW, page)


def headlines(dictionary: Dictionary, metrics: Mapping[str, float], reader: str) -> list[tuple[str, str, str]]:
    """Figures at the top, each as what it is of, its value, and what it has to be compared with."""
    frame, held_out = dictionary.overview, metrics.get(f"{reader}/pass_share")
    low, high = metrics.get(f"{reader}/pass_share_low"), metrics.get(f"{reader}/pass_share_high")
    passing, neurons = int(frame["passes"].sum() or 0), frame.select(pl.struct("layer", "neuron").n_unique()).item()
    kind = "directions" if "directions" in dictionary.facts else "neurons"
    counted = f"{passing:,} of {frame.height:,} ({'both signs of ' * (frame.height > neurons)}{neurons:,} {kind})"
    within = "" if low is None or high is None else f", {percent(low)} to {percent(high)}"
    under = counted if held_out is None else f"of neurons no reader was fitted on{within}; {counted}"
    beside = (("skyline", "skyline"), ("last token", "last_token"), ("unembedding", "lens"))
    medians = ", ".join(f"{label} {number(metrics.get(f'{key}/median_auroc'))}" for label, key in beside)
    share = {name: percent(metrics.get(f"{reader}/{name}_share")) for name in ("pass", "rotated", "false")}
    tokens = f"of all entries; {percent(metrics.get('token_share'))} are told by tokens alone"
    shown = [
        ("have a description that holds", f"{passing:,}" if held_out is None else share["pass"], under),
        ("of rotated neurons", share["rotated"], "random directions, through everything"),
        ("of what passes is false", share["false"], "another entry's words in the place of its own"),
        ("median AUROC", number(metrics.get(f"{reader}/median_auroc")), medians),
        ("tell more than a token", percent(metrics.get("context_share")), tokens),
    ]
    return [figure for figure in shown if figure[1] != "–"]


def pairs(dictionary: Dictionary) -> list[tuple[Entry, Entry]]:
    """The strongest entry of each block, of those the strongest, each with the entry whose words are nearest."""
    known = dictionary.overview.with_row_index("place").filter("passes", pl.col("nearest_entry") != "")
    best = known.sort("auroc", descending=True).unique("layer", keep="first", maintain_order=True).head(PAIRS)
    found = []
    for place in sorted(best["place"]):
        entry = dictionary.at(place)
        if other := named(entry.nearest_entry):
            found.append((entry, dictionary.entry(*other, entry.nearest_entry[-1])))
    return found


def map_data(dictionary: Dictionary) -> dict[str, Any]:
    """The map: for each block its width, and per measure one byte for every entry, base64.

    Bytes lie block by block, the `+` sign of all neurons first. `auroc` is AUROC · 200, `kind` a place in `KINDS`; 255
    is "not there".
    """
    layers: list[dict[str, int]] = []
    rows: dict[str, list[npt.NDArray[np.uint8]]] = {"auroc": [], "kind": []}
    for (layer,), part in dictionary.overview.partition_by("layer", as_dict=True, maintain_order=True).items():
        neurons = part["neuron"].to_numpy()
        width = int(neurons.max()) + 1
        place = (part["sign"] == SIGNS[1]).to_numpy() * width + neurons
        layers.append({"layer": int(layer), "width": width})
        for name, values in _bytes(part).items():
            row = np.full(2 * width, NONE, dtype=np.uint8)
            row[place] = values
            rows[name].append(row)
    joined = {name: b"".join(row.tobytes() for row in found) for name, found in rows.items()}
    return {"layers": layers, **{name: base64.b64encode(held).decode("ascii") for name, held in joined.items()}}


def _bytes(part: pl.DataFrame) -> dict[str, npt.NDArray[np.uint8]]:
    scored, context = pl.col("auroc").is_not_null(), pl.col("label") == LABELS[1]
    kind = pl.when("passes").then(pl.when(context).then(3).otherwise(2)).otherwise(scored.cast(pl.Int32))
    score = (pl.col("auroc").cast(pl.Float64) * SCALE).round().fill_null(NONE)
    found = part.select(auroc=score.cast(pl.UInt8), kind=kind.cast(pl.UInt8))
    return {name: found[name].to_numpy() for name in found.columns}
