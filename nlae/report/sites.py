"""What the page says of several sites: one after another, layers in order, each figure beside its own controls.

Figures of one site end in `/<kind>.<layer>`, means over the sites of a kind in `/<kind>`. Means have no interval, since
all sites are measured on the same texts; every claim counts the sites whose own interval supports it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nlae.page import LineChart, Series, line_chart
from nlae.page.charts import NARROW, WIDE
from nlae.report.figures import Drawing
from nlae.report.meanings import label
from nlae.report.numbers import Figure, figure, name_of

COLUMNS = ("fve", "control/last_token", "control/word_shuffle", "control/shuffled", "neurons/r2", "ceiling/linear")
CLAIMED = ("last_token", "word_shuffle", "mean", "shuffled")
KINDS = {"resid": "residual stream", "mlp_in": "MLP inputs", "mlp_out": "MLP outputs", "mlp_neurons": "MLP neurons"}
_SITE = re.compile(r"fve/([a-z_]+)\.(\d+)")


@dataclass(frozen=True)
class Row:
    """One line of the table: a site, or the mean over the sites of a kind.

    Attributes:
        title: what is shown, e.g. `block 3`.
        figures: one for each column; None where it was not measured.
        mean: whether it is a mean.
    """

    title: str
    figures: tuple[Figure | None, ...]
    mean: bool = False


@dataclass(frozen=True)
class Kind:
    """All sites of one kind, by layer.

    Attributes:
        title: e.g. `MLP neurons`.
        columns: names of the columns of which any site has a figure.
        rows: the sites, then their mean.
        drawing: figures over layers; None for a single layer.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    drawing: Drawing | None


def layers(metrics: Mapping[str, float]) -> dict[str, list[int]]:
    """Layers of each kind of site, ascending; empty where there is only one site."""
    found: dict[str, list[int]] = {}
    for key in metrics:
        if match := _SITE.fullmatch(key):
            found.setdefault(match[1], []).append(int(match[2]))
    return {kind: sorted(found[kind]) for kind in sorted(found, key=lambda kind: [*KINDS, kind].index(kind))}


def over_all(metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures that belong to no site and no kind."""
    names = {name for kind, at in layers(metrics).items() for name in (kind, *(f"{kind}.{layer}" for layer in at))}
    return {key: value for key, value in metrics.items() if key.rpartition("/")[2] not in names}


def tables(metrics: Mapping[str, float]) -> list[Kind]:
    """A table and a drawing for each kind of site."""
    return [_kind(_of(metrics, kind, at), kind, at) for kind, at in layers(metrics).items()]


def verdict(metrics: Mapping[str, float]) -> list[str]:
    """At how many sites the words beat each control, judged by the interval of each site's paired difference."""
    sites = [_site(metrics, kind, layer) for kind, at in layers(metrics).items() for layer in at]
    lines = []
    for control in CLAIMED:
        lows = [site[key] for site in sites if (key := f"control/{control}_gap_low") in site]
        highs = [site[key] for site in sites if (key := f"control/{control}_gap_high") in site]
        if not lows:
            continue
        above, below = sum(low > 0 for low in lows), sum(high < 0 for high in highs)
        lines.append(
            f"Against {name_of(control)} the words do better at {above} of {len(lows)} sites and worse at {below}, by "
            "the interval of each site's paired difference."
        )
    return lines or ["There is no interval, because the rows come from too few source works; no comparison is claimed."]


def _of(metrics: Mapping[str, float], kind: str, at: list[int]) -> dict[str, dict[str, float]]:
    """Figures of every site of a kind by its layer, and their means under ``""``."""
    means = {key.removesuffix(f"/{kind}"): value for key, value in metrics.items() if key.endswith(f"/{kind}")}
    return {str(layer): _site(metrics, kind, layer) for layer in at} | {"": means}


def _site(metrics: Mapping[str, float], kind: str, layer: int) -> dict[str, float]:
    end = f"/{kind}.{layer}"
    return {key.removesuffix(end): value for key, value in metrics.items() if key.endswith(end)}


def _kind(found: dict[str, dict[str, float]], kind: str, at: list[int]) -> Kind:
    keys = [key for key in COLUMNS if any(key in figures for figures in found.values())]
    rows = [Row(f"block {layer}", tuple(figure(found[str(layer)], key) for key in keys)) for layer in at]
    if len(at) > 1:
        rows.append(Row("mean", tuple(figure(found[""], key) for key in keys), mean=True))
    return Kind(KINDS.get(kind, kind), tuple(label(key) for key in keys), tuple(rows), _drawing(found, kind, at))


def _drawing(found: dict[str, dict[str, float]], kind: str, at: list[int]) -> Drawing | None:
    if len(at) < 2:
        return None
    shown = (("fve", "The words"), ("control/last_token", "Last-token table"), ("control/shuffled", "Shuffled pairing"))
    lines = []
    for key, name in shown:
        figures = [(layer, figure(found[str(layer)], key)) for layer in at]
        kept = [(layer, one) for layer, one in figures if one]
        spans = [None if one.low is None or one.high is None else (one.low, one.high) for _, one in kept]
        points = [(float(layer), one.value) for layer, one in kept]
        lines.append(Series(name, points, key == "fve", key == "control/shuffled", dots=True, intervals=spans))
    lines = [line for line in lines if line.points]
    about = "; ".join(f"{line.name} from {line.points[0][1]:.2f} to {line.points[-1][1]:.2f}" for line in lines)

    def lay(width: float) -> LineChart:
        return line_chart(lines, width=width, height=260, x_label="block", y_label="FVE", zero=True)

    title = f"FVE of {KINDS.get(kind, kind)} over blocks"
    return Drawing(f"sites-{kind}", title, about, lay(WIDE), lay(NARROW), tuple(lines))
