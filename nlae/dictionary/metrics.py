"""The dictionary in flat numbers, each over neurons B and test works, with its interval over works.

A share is one of *all* entries: what could not be scored does not pass. The headline is the share of neurons that pass
minus that of rotated ones. Shape suffixes: E entries of neurons B, R resamples of works.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nlae.functional.bootstrap import MIN_CLUSTERS

Pair = tuple[Tensor, Tensor]
BASELINES = ("skyline", "last_token", "token_list", "lens", "nearest")


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
        flat |= reported.figure(functools.partial(_middle_of, name), f"{name}/median_auroc")
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
