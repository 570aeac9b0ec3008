"""Per-neuron variance that survives the words, in raw space, on contexts that trained nothing."""

from __future__ import annotations

from torch import Tensor


def r_squared(value_RN: Tensor, rebuilt_RN: Tensor, mean_N: Tensor) -> Tensor:
    """1 − Σ(a − â)² / Σ(a − mean)² per neuron, float32 (N,); NaN for a neuron that stays at its mean.

    Args:
        value_RN: raw activations of held-out contexts.
        rebuilt_RN: what their texts say.
        mean_N: training mean.
    """
    spread_N = ((value_RN - mean_N) ** 2).sum(0)
    found_N = 1 - ((value_RN - rebuilt_RN) ** 2).sum(0) / spread_N.clamp_min(1e-30)
    return found_N.masked_fill(spread_N <= 0, float("nan"))
