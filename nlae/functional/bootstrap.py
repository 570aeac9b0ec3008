"""Bootstrap intervals clustered by source work, the same resamples for every quantity, so that differences are paired.

A source work (article, speech, conversation, module) is drawn whole, numerator and denominator together: rows of one
work resemble each other, and rows drawn one by one would give intervals that are too narrow. Left out on purpose:
studentised and bias-corrected intervals, which buy little at the cluster counts where an interval is given at all.
Shape suffixes: N rows, R resamples, C clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nlae.functional.randomness import generator
from nlae.functional.reconstruction import explained

MIN_CLUSTERS = 30
Interval = tuple[float, float]


class ClusterBootstrap:
    """Resamples of the clusters of one set of rows, drawn once and used for everything measured on these rows.

    Args:
        clusters: the cluster of each row (any hashable), length N.
        seed: of the resamples; they do not depend on the order of the rows, only on the set of clusters.
        resamples: number of resamples R.
        level: coverage of the percentile intervals.
        minimum: with fewer clusters than this there is no interval (the methods return None).
    """

    def __init__(
        self,
        clusters: Sequence[object],
        seed: int,
        resamples: int = 2000,
        level: float = 0.95,
        minimum: int = MIN_CLUSTERS,
    ) -> None:
        names = sorted({str(name) for name in clusters})
        place = {name: number for number, name in enumerate(names)}
        self.cluster_N = torch.tensor([place[str(name)] for name in clusters], dtype=torch.long)
        self.n_clusters, self.level, self.minimum = len(names), level, minimum
        source = generator(seed, "bootstrap")
        self.weight_RC = torch.zeros(resamples, self.n_clusters, dtype=torch.float64)
        if names:
            drawn_RC = torch.randint(self.n_clusters, (resamples, self.n_clusters), generator=source)
            self.weight_RC.scatter_add_(1, drawn_RC, torch.ones(drawn_RC.shape, dtype=torch.float64))

    def fve(self, error_N: Tensor, spread_N: Tensor, keep_N: Tensor | None = None) -> Interval | None:
        """Interval of 1 − Σ error / Σ spread over the rows in `keep_N` (all by default)."""
        return self.interval(self.resampled(error_N, spread_N, keep_N), keep_N)

    def fve_gap(
        self, error_a_N: Tensor, error_b_N: Tensor, spread_N: Tensor, keep_N: Tensor | None = None
    ) -> Interval | None:
        """Interval of FVE(a) − FVE(b) on the same rows and resamples."""
        return self.ratio(error_b_N.double() - error_a_N.double(), spread_N, keep_N)

    def ratio(self, top_N: Tensor, bottom_N: Tensor, keep_N: Tensor | None = None) -> Interval | None:
        """Interval of Σ top / Σ bottom; a resample whose denominator is zero is left out.

        With differences of two predictions' errors above and below, this is a ratio of differences of FVEs.
        """
        return self.interval(self._drawn(top_N, keep_N) / self._drawn(bottom_N, keep_N), keep_N)

    def mean(self, value_N: Tensor, keep_N: Tensor | None = None) -> Interval | None:
        """Interval of the mean of `value_N`."""
        return self.ratio(value_N, torch.ones(len(value_N)), keep_N)

    def resampled(self, error_N: Tensor, spread_N: Tensor, keep_N: Tensor | None = None) -> Tensor:
        """1 − Σ error / Σ spread in each resample [R], for figures that are made of several."""
        return explained(self._drawn(error_N, keep_N), self._drawn(spread_N, keep_N))

    def interval(self, value_R: Tensor, keep_N: Tensor | None = None) -> Interval | None:
        """Interval of a figure that was made of `resampled` ones over the same rows."""
        return self._percentiles(value_R[value_R.isfinite()].double()) if self._enough(keep_N) else None

    def _drawn(self, value_N: Tensor, keep_N: Tensor | None) -> Tensor:
        return self.weight_RC @ self._sums(value_N, keep_N)

    def _sums(self, value_N: Tensor, keep_N: Tensor | None) -> Tensor:
        if value_N.shape != self.cluster_N.shape:
            raise ValueError(f"expected one value for each of {len(self.cluster_N)} rows, got {tuple(value_N.shape)}")
        value_N = value_N.double()
        if keep_N is not None:
            value_N = torch.where(keep_N, value_N, torch.zeros_like(value_N))
        return torch.zeros(self.n_clusters, dtype=torch.float64).scatter_add_(0, self.cluster_N, value_N)

    def _enough(self, keep_N: Tensor | None) -> bool:
        cluster_N = self.cluster_N if keep_N is None else self.cluster_N[keep_N]
        return int(cluster_N.unique().numel()) >= self.minimum

    def _percentiles(self, value_R: Tensor) -> Interval | None:
        if not len(value_R):
            return None
        tail = (1 - self.level) / 2
        low, high = torch.quantile(value_R, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
        return low, high


def wilson(successes: int, trials: int, z: float = 1.959964) -> Interval:
    """Wilson's interval of a share, for rows that may be taken as independent; (0, 1) without trials."""
    if not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials, got {successes} of {trials}")
    if not trials:
        return 0.0, 1.0
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    return max(0.0, centre - half), min(1.0, centre + half)
