"""The dictionary in flat numbers: over neurons B and test works with intervals over works, and over all entries.

A share is one of *all* entries: what could not be scored does not pass. The headline is the share of neurons that pass
minus that of rotated ones. Shape suffixes: E entries of neurons B, R resamples of works.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
import torch
from torch import Tensor

from nlae.dictionary.schema import LABELS, SPLITS
from nlae.functional.bootstrap import MIN_CLUSTERS

Pair = tuple[Tensor, Tensor]
log = logging.getLogger(__name__)
BASELINES = ("skyline", "last_token", "token_list", "lens", "nearest")
MEDIANS = (
    "skyline", "last_token", "token_list", "lens", "nearest", "permuted", "mismatched", "spearman", "r2", "r2_linear",
    "kurtosis", "frequency",
)  # fmt: skip


@dataclass(frozen=True)
class Reported:
    """AUROC of neurons B on test works, by name: float32 (E,) as measured and (E, R) under resampled works.

    Attributes:
        measured: `auroc`, `mismatched`, `nearest`, the baselines, and `rotated` where there are any.
        resampled: the same.
        works: source works of the test panel; with fewer than 30 there are no intervals.
    """

    measured: Mapping[str, Tensor]
    resampled: Mapping[str, Tensor]
    works: int

    @classmethod
    def of(cls, parts: Sequence[Mapping[str, Tensor]], works: int) -> Reported:
        """Of some blocks' tensors, `measured/…` and `resampled/…`."""
        found: dict[str, dict[str, Tensor]] = {"measured": {}, "resampled": {}}
        for key in sorted({key for part in parts for key in part}):
            kind, name = key.split("/")
            if kind in found:
                found[kind][name] = torch.cat([part[key].float() for part in parts])
        return cls(found["measured"], found["resampled"], works)

    def figure(self, of: Callable[[Mapping[str, Tensor]], Tensor], name: str) -> dict[str, float]:
        """A figure with its interval; nothing where it cannot be told.

        The interval is as wide as the resamples spread, around the figure: a resample adds its own noise to the AUROC
        of every entry, which carries more of them across a bar than it brings back.

        Args:
            of: AUROC by name, entries in the first dimension -> the figure, over that dimension.
            name: of the figure.
        """
        value = float(of({key: value[:, None] for key, value in self.measured.items()})[0])
        if not math.isfinite(value):  # no entry was scored, or nothing passes to take a share of
            return {}
        flat = {name: value}
        drawn_R = of(self.resampled)
        drawn_R = drawn_R[drawn_R.isfinite()]
        if self.works >= MIN_CLUSTERS and len(drawn_R):
            centred_R = drawn_R.double() - drawn_R.double().mean() + value
            low, high = torch.quantile(centred_R, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
            flat |= {f"{name}_low": low, f"{name}_high": high}
        return flat


def figures(reported: Reported, bar: float, reader: str) -> dict[str, float]:
    """All figures that AUROC and a bar give.

    Args:
        reported: AUROC of neurons B.
        bar: lowest AUROC that passes.
        reader: name that the figures of the words begin with.
    """
    rotated = "rotated" in reported.measured
    flat = reported.figure(lambda of: share(of["auroc"], bar), f"{reader}/pass_share")
    if rotated:
        flat |= reported.figure(lambda of: share(of["rotated"], bar), f"{reader}/rotated_share")
        flat |= reported.figure(lambda of: share(of["auroc"], bar) - share(of["rotated"], bar), f"{reader}/headline")
        flat |= reported.figure(lambda of: middle(of["rotated"]), "rotated/median_auroc")
    flat |= reported.figure(lambda of: share(of["mismatched"], bar) / share(of["auroc"], bar), f"{reader}/false_share")
    flat |= reported.figure(lambda of: beats(of["auroc"], of["nearest"]), f"{reader}/beats_nearest")
    flat |= reported.figure(lambda of: middle(of["auroc"]), f"{reader}/median_auroc")
    flat |= reported.figure(lambda of: middle(of["mismatched"]), "mismatched/median_auroc")
    for name in BASELINES:
        flat |= reported.figure(partial(_middle_of, name), f"{name}/median_auroc")
    return flat


def share(area: Tensor, bar: float) -> Tensor:
    """Share of all entries that reach the bar, over the first dimension."""
    return (area >= bar).double().mean(0)


def beats(own: Tensor, other: Tensor) -> Tensor:
    """Share of scored entries whose own words do better than others', over the first dimension."""
    known = ~own.isnan() & ~other.isnan()
    return (known & (own > other)).double().sum(0) / known.sum(0)


def middle(area: Tensor) -> Tensor:
    """Median over scored entries, over the first dimension."""
    return area.double().nanmedian(0).values


def _middle_of(name: str, of: Mapping[str, Tensor]) -> Tensor:
    return middle(of[name])


def totals(table: pl.DataFrame, bar: float) -> dict[str, float]:
    """Numbers of all entries, whatever their split."""
    found: dict[str, Any] = {
        "entries": len(table),
        "scored": table["auroc"].is_not_null().sum(),
        "passing": table["passes"].sum(),
        "passing_share": table["passes"].mean(),
        "bar": None if bar == float("inf") else bar,
        "token_share": (table["label"] == LABELS[0]).mean(),
        "context_share": (table["label"] == LABELS[1]).mean(),
        "specialised": table["specialised"].mean(),
        **{f"grade/{grade}": (table["grade"] == grade).mean() for grade in ("fair", "good", "strong")},
        **{name: table[name].median() for name in ("spearman", "r2", "r2_linear")},
        **{f"trained/{name}": value for name, value in _by_split(table).items()},
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _by_split(table: pl.DataFrame) -> dict[str, float | None]:
    """The same shares of neurons that the reader was fitted on: what fitting alone gives."""
    trained = table.filter(pl.col("split") == SPLITS[0])
    return {"pass_share": _mean(trained, pl.col("passes")), "median_auroc": _median(trained, "auroc")}


def block_row(
    entries: pl.DataFrame, made: Mapping[str, Any], reported: Reported, bar: float, reader: str
) -> dict[str, Any]:
    """A block's row of `layers.json`: shares of all of its entries, intervals and nulls of neurons B."""
    found = figures(reported, bar, reader)
    named = {"pass_share": "b_pass_share", "rotated_share": "rotated_share", "false_share": "false_share"}
    row: dict[str, Any] = {
        "layer": made["layer"],
        "neurons": made["neurons"],
        "entries": len(entries),
        "scored": int(entries["auroc"].is_not_null().sum()),
        "passing": int(entries["passes"].sum()),
        "pass_share": _mean(entries, pl.col("passes")),
        "token_share": _mean(entries, pl.col("label") == LABELS[0]),
        "context_share": _mean(entries, pl.col("label") == LABELS[1]),
        "specialised": _mean(entries, pl.col("specialised")),
        "specialised_rotated": made["specialised_rotated"],
        "beats_nearest": found.get(f"{reader}/beats_nearest"),
        "median_auroc": _median(entries, "auroc"),
        "rotated": found.get("rotated/median_auroc"),
        "chosen": made["chosen"],
        **{name: _median(entries, name) for name in MEDIANS},
    }
    for name, key in named.items():
        row[key] = found.get(f"{reader}/{name}")
        row |= {f"{name}_{end}": found.get(f"{reader}/{name}_{end}") for end in ("low", "high")}
    row |= {f"median_auroc_{end}": found.get(f"{reader}/median_auroc_{end}") for end in ("low", "high")}
    return row


def say(flat: Mapping[str, float], reader: str) -> None:
    """How many entries pass, beside which nulls: the last lines on the screen."""

    def within(name: str) -> str:
        if name not in flat:
            return "–"
        low, high = flat.get(f"{name}_low"), flat.get(f"{name}_high")
        inside = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
        return f"{100 * flat[name]:.1f} %{inside}"

    bar = f"{flat['bar']:.3f}" if "bar" in flat else "none"
    log.info("%s of %s entries pass (AUROC at least %s)", f"{flat['passing']:,.0f}", f"{flat['entries']:,.0f}", bar)
    log.info(
        "held-out neurons: %s pass; rotated neurons %s; mismatched words %s of passes; headline %s",
        *(within(f"{reader}/{name}") for name in ("pass_share", "rotated_share", "false_share", "headline")),
    )


def _mean(table: pl.DataFrame, of: pl.Expr) -> float | None:
    value: Any = table.select(of.cast(pl.Float64).mean()).item()
    return None if value is None else float(value)


def _median(table: pl.DataFrame, name: str) -> float | None:
    value: Any = table[name].median()
    return None if value is None else float(value)
