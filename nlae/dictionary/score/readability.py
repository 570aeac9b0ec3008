"""Per-neuron variance that could survive what is injected, in raw space, on contexts that trained nothing.

What survives the words and the closed form behind the ceiling are in `nlae.evaluation.neurons`; this module only hands
that a layer's panels, and directions their length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nlae.evaluation.neurons import linear_ceiling
from nlae.functional.reconstruction import fit_scale

ROWS = 1024  # contexts whose activations are injected at once


def raw(direction_RN: Tensor, norm_R: Tensor | None, true_RN: Tensor) -> Tensor:
    """Raw activations from directions that were read, float32 (R, N).

    Without norms each half of the rows takes the scalar that fits the other half best, so that no row has a part in its
    own length; halves are in the rows' order, which is that of passages.

    Args:
        direction_RN: unit vectors.
        norm_R: predicted norms; None where nothing predicts them.
        true_RN: raw activations of the same contexts, two of them at least.
    """
    if norm_R is not None:
        return direction_RN * norm_R[:, None]
    middle = len(direction_RN) // 2
    halves = slice(None, middle), slice(middle, None)
    scaled = [
        direction_RN[here] * fit_scale(direction_RN[there], true_RN[there])
        for here, there in (halves, reversed(halves))
    ]
    return torch.cat(scaled)


def ceiling(inject: Callable[[Tensor], Tensor], vectors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
    """R² per neuron of the best linear map from what is injected, float64 (N,); NaN for one that stays at its mean.

    Fitted on the panel `train`, each neuron's penalty chosen on `select`, measured on `report`.

    Args:
        inject: activations (B, width) -> what the verbalizer is given of them, (B, d), before its norm is set.
        vectors: role -> the activations that are put into words, (M, width).
        values: role -> the neurons' own, (M, N), of the same contexts; of `report` those on which words are measured.
    """
    train, select, report = (
        (torch.cat([inject(part).float().cpu() for part in vectors[role].split(ROWS)]), values[role])
        for role in ("train", "select", "report")
    )
    return linear_ceiling(train, select, report)[0]
