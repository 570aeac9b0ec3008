"""What must be known about a site's activations before anything is injected or scored.

The mean is that of the *unit* vectors and is itself not normalised (normalising it would inflate every FVE by several
points). Only training rows may enter; the caller sees to that. Dimension-wise whitening is left out on purpose: the
published measure has none, and numbers could no longer be compared.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

EPSILON = 1e-12


def unit(x_BD: Tensor) -> Tensor:
    """Rows of `x_BD` on the unit sphere, in float32; an all-zero row stays zero."""
    x_BD = x_BD.float()
    return x_BD / x_BD.norm(dim=-1, keepdim=True).clamp_min(EPSILON)


@dataclasses.dataclass(frozen=True)
class SiteStatistics:
    """Training-split statistics of one site.

    Attributes:
        mean_D: mean of the training unit vectors, not normalised.
        variance: mean of ‖ĥ − μ‖² over training rows; the denominator of a single token's FVE.
        alpha: 75th percentile of the *residual* norm at the site's block; the default injection scale.
        norm_median: median norm of the site's own vectors.
        count: number of training rows.
    """

    mean_D: Tensor
    variance: float
    alpha: float
    norm_median: float
    count: int

    def save(self, path: Path) -> None:
        """Write to one safetensors file."""
        save_file(self.tensors(), str(path))

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds of them: `mean` and `numbers`."""
        numbers = torch.tensor([self.variance, self.alpha, self.norm_median, self.count], dtype=torch.float64)
        return {"mean": self.mean_D.contiguous().cpu(), "numbers": numbers}

    @classmethod
    def load(cls, path: Path) -> SiteStatistics:
        """Read what `save` wrote.

        Raises:
            ValueError: tensors of another form; KeyError where one is not there.
        """
        tensors = load_file(str(path))
        return cls.of(tensors["mean"], tensors["numbers"])

    @classmethod
    def of(cls, mean_D: Tensor, numbers: Tensor) -> SiteStatistics:
        """Statistics from tensors of a file, which may come from elsewhere.

        Raises:
            ValueError: they are of another form, or not finite.
        """
        if mean_D.ndim != 1 or not bool(torch.isfinite(mean_D).all()):
            raise ValueError(f"the mean is {tuple(mean_D.shape)}, not one finite vector")
        if numbers.shape != (4,) or not bool(torch.isfinite(numbers).all()):
            raise ValueError(f"the numbers are {tuple(numbers.shape)}, not four finite ones")
        variance, alpha, norm_median, count = numbers.tolist()
        return cls(mean_D, variance, alpha, norm_median, int(count))

    @property
    def constant_D(self) -> Tensor:
        """μ/‖μ‖: the best that can be said of an activation about which nothing is known; float32, on the sphere."""
        return unit(self.mean_D)


class StatisticsAccumulator:
    """Streams training rows into `SiteStatistics`: O(d) memory plus two floats a row."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._norms: list[Tensor] = []
        self._residual_norms: list[Tensor] = []

    def add(self, activation_BD: Tensor, residual_norm_B: Tensor) -> None:
        """Add raw site vectors and the residual norms at the same rows."""
        total = unit(activation_BD).double().sum(0).cpu()
        self._sum = total if self._sum is None else self._sum + total
        self._norms.append(activation_BD.float().norm(dim=-1).cpu())
        self._residual_norms.append(residual_norm_B.float().cpu())

    def finish(self) -> SiteStatistics:
        """Close the stream.

        Raises:
            ValueError: no row was added.
        """
        if self._sum is None:
            raise ValueError("no training rows: nothing to take statistics of")
        norms, residual = torch.cat(self._norms), torch.cat(self._residual_norms)
        mean = self._sum / len(norms)
        # mean ‖ĥ−μ‖² = mean ‖ĥ‖² − ‖μ‖², and ‖ĥ‖ = 1
        variance = 1.0 - float(mean @ mean)
        return SiteStatistics(
            mean_D=mean.float(),
            variance=variance,
            alpha=_quantile(residual, 0.75),
            norm_median=_quantile(norms, 0.5),
            count=len(norms),
        )


def _quantile(x: Tensor, q: float) -> float:
    """`torch.quantile` refuses more than 16 million elements; a sort does not."""
    ordered, _ = x.sort()
    position = q * (len(ordered) - 1)
    low, high = int(position), min(int(position) + 1, len(ordered) - 1)
    return float(torch.lerp(ordered[low], ordered[high], position - low))
