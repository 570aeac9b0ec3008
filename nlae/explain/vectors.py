"""Directions as activations: the training mean plus a·direction, beside the mean and random ones of equal norm.

A direction alone is no activation: the verbalizer has only seen vectors around the training mean. a = 1 is as far from
the mean as a typical training activation, whatever the length of the vector given. Left out: sums of directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.explain.inputs import DirectionInput
from nlae.functional.reconstruction import unit
from nlae.functional.scaling import SiteStatistics


@dataclass(frozen=True)
class Probe:
    """One activation to read, its label, and the signed unit direction that it stands for (None for the mean)."""

    label: str
    activation_D: Tensor
    direction_D: Tensor | None


def probes(
    source: DirectionInput,
    statistics: SiteStatistics | None,
    *,
    strengths: Sequence[float] = (1.0,),
    random: int = 2,
    seed: int = 0,
) -> list[Probe]:
    """The activations that show what `source` says.

    Args:
        source: the direction; only where it points matters.
        statistics: `SiteStatistics` of the site.
        strengths: the values of a, each read with both signs.
        random: how many random directions to put beside it, read in the same way.
        seed: of the random directions.

    Raises:
        NlaeError: no statistics, or a strength that is not positive.
    """
    if statistics is None:
        raise NlaeError(
            "vector=: this checkpoint holds no training mean, so a direction has no place to be read at; use text="
        )
    mean_D = statistics.mean_D.float()
    if not strengths or min(strengths) <= 0:
        raise NlaeError("explain.strengths: give one or more positive numbers; both signs are always read")
    norm, step = float(statistics.norm_median), float(statistics.variance) ** 0.5
    generator = torch.Generator().manual_seed(seed)
    directions = [(source.name, unit(source.vector_D[None].cpu())[0])]
    for i in range(random):
        drawn_D = torch.randn(mean_D.shape, generator=generator)
        directions.append((f"random direction {i + 1}", unit(drawn_D[None])[0]))
    mean_D = mean_D.cpu()
    out = []
    for name, direction_D in directions:
        for a in strengths:
            for sign, mark in ((1, "+"), (-1, "\N{MINUS SIGN}")):
                activation_D = norm * (mean_D + sign * a * step * direction_D)
                out.append(Probe(f"{mark}{a:g} · {name}", activation_D, sign * direction_D))
    return [*out, Probe("the mean alone", norm * mean_D, None)]


def alignment(pred_ND: Tensor, mean_D: Tensor, direction_ND: Tensor) -> Tensor:
    """Cosine between what the words add to the mean, ĥ' − μ, and the direction that was read; [N], near 0 by chance."""
    away_ND = unit(pred_ND.cpu() - mean_D.cpu())
    return (away_ND * unit(direction_ND.cpu())).sum(dim=-1)
