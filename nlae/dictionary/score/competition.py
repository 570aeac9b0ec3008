"""q-values by target–decoy competition: each entry has to beat its own decoy, and decoys that win are counted.

Under the null an entry and its decoy are exchangeable, so among the winners above any score there are about as many
decoys as false entries (Elias & Gygi 2007; Barber & Candès 2015 for the + 1, without which few entries would pass too
easily). Nothing is assumed about how scores are distributed, or that entries are independent of each other's decoys.
A tie, as when two entries have the same text, speaks for neither: it is not accepted and not counted, as W = 0 there.
"""

from __future__ import annotations

import torch
from torch import Tensor


def q_values(target_E: Tensor, decoy_E: Tensor) -> Tensor:
    """Smallest false-discovery rate at which each entry is still accepted; float32 (E,), 1 at most.

    Args:
        target_E: score of each entry; NaN where it has none.
        decoy_E: score of its decoy; a decoy without a score never wins.

    Returns:
        NaN where the entry has no score; 1 where it loses to its decoy or only ties with it.
    """
    known_E = ~target_E.isnan()
    decoy_E = torch.where(decoy_E.isnan(), -torch.inf, decoy_E)
    won_E = known_E & (target_E > decoy_E)
    lost_E = known_E & (decoy_E > target_E)
    best_E = torch.where(won_E, target_E, torch.where(lost_E, decoy_E, -torch.inf))
    q_E = torch.full(target_E.shape, torch.nan, dtype=torch.float32)
    q_E[known_E & ~won_E] = 1.0
    if not won_E.any():
        return q_E
    score_W = best_E[won_E]
    rate_W = (1 + _at_least(best_E[lost_E], score_W)) / _at_least(score_W, score_W)
    # a looser cut-off that has a lower rate is open to stricter entries too
    order_W = score_W.argsort()
    q_W = torch.empty_like(rate_W)
    q_W[order_W] = rate_W[order_W].cummin(0).values
    q_E[won_E] = q_W.clamp_max(1.0).float()
    return q_E


def cut_off(target_E: Tensor, q_E: Tensor, level: float) -> float:
    """Lowest score that is accepted at this rate; infinite when nothing is."""
    accepted_E = q_E <= level
    return float(target_E[accepted_E].min()) if bool(accepted_E.any()) else float("inf")


def _at_least(value_N: Tensor, score_W: Tensor) -> Tensor:
    """How many of `value_N` reach each score; float64 (W,)."""
    ascending_N = value_N.sort().values
    return (len(value_N) - torch.searchsorted(ascending_N, score_W)).double()
