"""Figures over one set of rows: FVE of anything that predicts them, with paired clustered intervals.

All figures come from one bootstrap of the rows' source works, so any two of them can be subtracted. Without the
checkpoint's training mean there is no FVE; the same sums with the constant denominator 2 give the mean cosine, and
every key says so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nlae.functional.bootstrap import ClusterBootstrap, Interval
from nlae.functional.reconstruction import fve, spread, squared_error, unit

logger = logging.getLogger(__name__)
LEAST_GAIN = 0.1  # of an FVE over its baseline, for a share of it to mean anything


class Scoreboard:
    """Collects metrics of predictions of the same activations.

    Args:
        raw_ND: raw activations.
        mean_D: the checkpoint's μ; None gives cosines under keys that say `cosine`.
        source: source work of each row: the cluster.
        seed: of the resamples.
        resamples: number of them.
        min_clusters: with fewer source works in a figure's rows it gets no interval.

    Attributes:
        metrics: what was added so far; numbers only, NaN where a figure is undefined. Interval keys that cannot be had
            are left out.
        notes: what a reader must know beside the numbers, one line each.
    """

    def __init__(
        self,
        raw_ND: Tensor,
        mean_D: Tensor | None,
        source: Sequence[object],
        *,
        seed: int,
        resamples: int = 2000,
        min_clusters: int = 30,
    ) -> None:
        self.truth_ND = unit(raw_ND)
        self.is_fve = mean_D is not None
        ones_N = torch.ones(len(raw_ND), dtype=torch.float64)
        self.spread_N = spread(self.truth_ND, mean_D) if mean_D is not None else 2 * ones_N
        self.bootstrap = ClusterBootstrap(source, seed, resamples, minimum=min_clusters)
        self.metrics: dict[str, float] = {}
        self.notes: list[str] = []

    def error(self, pred_ND: Tensor) -> Tensor:
        """‖ĥ−ĥ'‖² of each row, float64 [N]."""
        return squared_error(pred_ND, self.truth_ND)

    def figure(self, error_N: Tensor, keep_N: Tensor) -> float:
        """1 − Σ error / Σ spread over the rows kept."""
        return fve(error_N[keep_N], self.spread_N[keep_N])

    def add(self, name: str, error_N: Tensor, keep_N: Tensor) -> None:
        """Put `name`, `name_low`, `name_high`: FVE of a prediction with these errors over the rows kept."""
        self.add_ratio(name, error_N, self.spread_N, keep_N)

    def add_control(self, name: str, error_N: Tensor, own_N: Tensor, keep_N: Tensor) -> None:
        """Put a control, and by how much the autoencoder's own errors beat it: `name_gap`, `_gap_low`, `_gap_high`."""
        self.add(name, error_N, keep_N)
        gap = self.figure(own_N, keep_N) - self.figure(error_N, keep_N)
        self._put(f"{name}_gap", gap, self.bootstrap.fve_gap(own_N, error_N, self.spread_N, keep_N))

    def add_ratio(
        self, name: str, error_N: Tensor, total_N: Tensor, keep_N: Tensor, null_N: Tensor | None = None
    ) -> None:
        """Put 1 − Σ error / Σ total with its interval, for a measure with a denominator of its own.

        With the errors of a null also `name_null` and `name_gap`.
        """
        self._put(name, fve(error_N[keep_N], total_N[keep_N]), self.bootstrap.fve(error_N, total_N, keep_N))
        if null_N is not None:
            self.add_ratio(f"{name}_null", null_N, total_N, keep_N)
            gap = self.metrics[self.key(name)] - self.metrics[self.key(f"{name}_null")]
            self._put(f"{name}_gap", gap, self.bootstrap.fve_gap(error_N, null_N, total_N, keep_N))

    def add_quotient(
        self, name: str, top_N: Tensor, bottom_N: Tensor, keep_N: Tensor, *, least: float = LEAST_GAIN
    ) -> None:
        """Put Σ top / Σ bottom with its interval: a ratio of two gains, each a difference of errors of the same rows.

        Undefined (NaN, without an interval) where Σ bottom, as a share of Σ spread, is below `least`.
        """
        bottom = float(bottom_N[keep_N].sum())
        if not bottom >= least * float(self.spread_N[keep_N].sum()):
            self._put(name, math.nan, None)
            return
        self._put(name, float(top_N[keep_N].sum()) / bottom, self.bootstrap.ratio(top_N, bottom_N, keep_N))

    def add_mean(self, name: str, value_N: Tensor, keep_N: Tensor, null_N: Tensor | None = None) -> None:
        """Put the mean of a number of each row, with its interval; and beside it the same of a null, and their gap.

        Args:
            name: of the figure; with a null also `name_null` and `name_gap`, each with `_low` and `_high`.
            value_N: a number for each measured row.
            keep_N: rows that it is a mean over.
            null_N: the number for the same rows under the null.
        """
        self._put(name, float(value_N[keep_N].double().mean()), self.bootstrap.mean(value_N, keep_N))
        if null_N is not None:
            self.add_mean(f"{name}_null", null_N, keep_N)
            gap = self.metrics[self.key(name)] - self.metrics[self.key(f"{name}_null")]
            self._put(f"{name}_gap", gap, self.bootstrap.mean(value_N.double() - null_N.double(), keep_N))

    def add_mean_control(self, name: str, value_N: Tensor, own_N: Tensor, keep_N: Tensor) -> None:
        """Put the mean of a control's numbers, and `name_gap`, the autoencoder's own minus it, paired by row."""
        self.add_mean(name, value_N, keep_N)
        gap_N = own_N.double() - value_N.double()
        self._put(f"{name}_gap", float(gap_N[keep_N].mean()), self.bootstrap.mean(gap_N, keep_N))

    def put(self, name: str, value: float, interval: Interval | None = None) -> None:
        """Put a plain number, as it is named, and its interval where it has one."""
        self.metrics[name] = float(value)
        if interval is not None:
            self.metrics[f"{name}_low"], self.metrics[f"{name}_high"] = interval

    def note(self, line: str) -> None:
        """Keep a line for the report, and log it."""
        self.notes.append(line)
        logger.warning("%s", line)

    def note_clusters(self, keep_N: Tensor) -> None:
        """Put `clusters`, and say so if they are too few for intervals."""
        clusters = int(self.bootstrap.cluster_N[keep_N].unique().numel())
        self.put("clusters", clusters)
        if clusters < self.bootstrap.minimum:
            self.note(
                f"no intervals: the measured rows come from {clusters} source works, fewer than "
                f"{self.bootstrap.minimum}; use a corpus with more works or raise corpus.test_share"
            )

    def key(self, name: str) -> str:
        """The metric's key: as asked, or with `cosine` where the figure is one."""
        if self.is_fve:
            return name
        head, _, tail = name.rpartition("/")
        if head in ("control", "frontier", "cross", "refit"):
            return f"{head}_cosine/{tail.replace('fve', 'explanation')}"
        return name.replace("fve", "cosine")

    def _put(self, name: str, value: float, interval: Interval | None) -> None:
        self.put(self.key(name), value, interval)
