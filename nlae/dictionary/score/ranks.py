"""Ranks with ties averaged, and the AUROC that they give of one prediction per entry.

Shape suffixes: E entries, M contexts.
"""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(value_EM: Tensor) -> Tensor:
    """Ranks 1 … M within each row, equal values sharing the mean of their ranks; float32 (E, M)."""
    sorted_EM, order_EM = value_EM.sort(-1)
    place_M = torch.arange(1, value_EM.shape[-1] + 1, device=value_EM.device, dtype=torch.float32)
    differs_EM = sorted_EM[:, 1:] != sorted_EM[:, :-1]
    edge_E1 = torch.ones_like(sorted_EM[:, :1], dtype=torch.bool)
    # first and last place of the run of equal values that each one stands in
    first_EM = torch.where(torch.cat([edge_E1, differs_EM], -1), place_M, 0.0).cummax(-1).values
    last_EM = torch.where(torch.cat([differs_EM, edge_E1], -1), place_M, torch.inf).flip(-1).cummin(-1).values.flip(-1)
    return torch.empty_like(first_EM).scatter_(-1, order_EM, (first_EM + last_EM) / 2)


def auroc_own(rank_EM: Tensor, label_EM: Tensor, min_active: int = 1) -> Tensor:
    """Area under the ROC curve where every entry has one prediction of its own, float32 (E,).

    Args:
        rank_EM: `average_ranks` of the predictions.
        label_EM: true where the entry is active.
        min_active: entries with fewer active (or no inactive) contexts get NaN.
    """
    label_EM = label_EM.float()
    active_E = label_EM.sum(-1)
    inactive_E = label_EM.shape[-1] - active_E
    above_E = (label_EM * rank_EM).sum(-1) - active_E * (active_E + 1) / 2
    known_E = (active_E >= max(1, min_active)) & (inactive_E > 0)
    return torch.where(known_E, above_E / (active_E * inactive_E).clamp_min(1), torch.nan)
