"""Per-neuron variance that could survive what is injected, in raw space, on contexts that trained nothing.

What survives the words and the closed form behind the ceiling are in `nlae.evaluation.neurons`; this module only hands
that a layer's panels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nlae.evaluation.neurons import linear_ceiling

ROWS = 1024  # contexts whose activations are injected at once


def ceiling(inject: Callable[[Tensor], Tensor], vectors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
    """R² per neuron of the best linear map from what is injected, float64 (N,); NaN for one that stays at its mean.

    Fitted on the panel `train`, each neuron's penalty chosen on `select`, measured on `report`.

    Args:
        inject: activations (B, width) -> what the verbalizer is given of them, (B, d), before its norm is set.
        vectors: role -> the activations that are put into words, (M, width).
        values: role -> the neurons' own, (M, N).
    """
    train, select, report = (
        (torch.cat([inject(part).float().cpu() for part in vectors[role].split(ROWS)]), values[role])
        for role in ("train", "select", "report")
    )
    return linear_ceiling(train, select, report)[0]
