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

from nlae.dictionary.schema import GRADES, LABELS, SPLITS
from nlae.functional.bootstrap import MIN_CLUSTERS

Figure = Callable[[Mapping[str, Tensor]], Tensor]  # AUROC by name, entries first -> a figure over them
log = logging.getLogger(__name__)
BASELINES = ("skyline", "last_token", "token_list", "lens", "nearest")
STRENGTHS = ("spearman", "r2", "r2_linear")
MEDIANS = (*BASELINES, "permuted", "mismatched", *STRENGTHS, "kurtosis", "frequency")


@dataclass(frozen=True)
class Reported:
    """AUROC of neurons B on test works, by name: float32 (E,) as measured and (E, R) under resampled works.

    Attributes:
        measured, resampled: `auroc`, `mismatched`, `nearest`, the baselines, and `rotated` where there are any.
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

    def figure(self, of: Figure, name: str) -> dict[str, float]:
        """A figure with its interval; nothing where it cannot be told.

        The interval is as wide as the resamples spread, around the figure: a resample adds its own noise to the AUROC
        of every entry, which carries more of them across a bar than it brings back.
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
    """All figures that AUROC of neurons B and a bar give; those of the words begin with the reader's name."""
    named: dict[str, Figure] = {f"{reader}/pass_share": lambda of: share(of["auroc"], bar)}
    if "rotated" in reported.measured:
        named[f"{reader}/rotated_share"] = lambda of: share(of["rotated"], bar)
        named[f"{reader}/headline"] = lambda of: share(of["auroc"], bar) - share(of["rotated"], bar)
        named["rotated/median_auroc"] = lambda of: middle(of["rotated"])
    named[f"{reader}/false_share"] = lambda of: share(of["mismatched"], bar) / share(of["auroc"], bar)
    named[f"{reader}/beats_nearest"] = lambda of: beats(of["auroc"], of["nearest"])
    named[f"{reader}/median_auroc"] = lambda of: middle(of["auroc"])
    for name in ("mismatched", *BASELINES):
        named[f"{name}/median_auroc"] = partial(_middle_of, name)
    return {key: value for name, of in named.items() for key, value in reported.figure(of, name).items()}


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
    """Numbers of all entries, whatever their split; beside them those of neurons that the reader was fitted on."""
    whole, trained = _over(table, STRENGTHS), _over(table.filter(pl.col("split") == SPLITS[0]), ())
    found = {
        "entries": len(table),
        "passing_share": whole["pass_share"],
        "bar": None if bar == float("inf") else bar,
        **{name: whole[name] for name in ("scored", "passing", "token_share", "context_share", "specialised")},
        **{f"grade/{grade}": (table["grade"] == grade).mean() for grade in GRADES},
        **{name: whole[name] for name in STRENGTHS},
        **{f"trained/{name}": trained[name] for name in ("pass_share", "median_auroc")},
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def block_row(
    entries: pl.DataFrame, made: Mapping[str, Any], reported: Reported, bar: float, reader: str
) -> dict[str, Any]:
    """A block's row of `layers.json`: shares of all of its entries, intervals and nulls of neurons B."""
    found = figures(reported, bar, reader)
    row = {
        **{name: made[name] for name in ("layer", "neurons", "specialised_rotated", "chosen")},
        "entries": len(entries),
        **_over(entries, MEDIANS),
        "beats_nearest": found.get(f"{reader}/beats_nearest"),
        "rotated": found.get("rotated/median_auroc"),
        "b_pass_share": found.get(f"{reader}/pass_share"),
        **{name: found.get(f"{reader}/{name}") for name in ("rotated_share", "false_share")},
    }
    for name in ("pass_share", "rotated_share", "false_share", "median_auroc"):
        row |= {f"{name}_{end}": found.get(f"{reader}/{name}_{end}") for end in ("low", "high")}
    return row


def _over(entries: pl.DataFrame, medians: Sequence[str]) -> dict[str, Any]:
    """Counts, shares and medians of some entries; None where there is nothing to take one of."""
    token, context = LABELS
    return entries.select(
        scored=pl.col("auroc").is_not_null().sum(),
        passing=pl.col("passes").sum(),
        pass_share=pl.col("passes").mean(),
        token_share=(pl.col("label") == token).mean(),
        context_share=(pl.col("label") == context).mean(),
        specialised=pl.col("specialised").mean(),
        median_auroc=pl.col("auroc").median(),
        **{name: pl.col(name).median() for name in medians},
    ).row(0, named=True)


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
