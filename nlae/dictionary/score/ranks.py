"""Ranks with ties averaged, and the AUROC that they give of one prediction per entry.

Shape suffixes: E entries, M contexts.
"""

import torch
from scipy.stats import rankdata
from torch import Tensor


def average_ranks(value_EM: Tensor) -> Tensor:
    """Ranks 1 … M within each row, equal values sharing the mean of their ranks; float32 (E, M)."""
    return torch.from_numpy(rankdata(value_EM.cpu().numpy(), axis=-1)).float()


def auroc_own(rank_EM: Tensor, label_EM: Tensor, min_active: int = 1) -> Tensor:
    """Area under the ROC curve where every entry has one prediction of its own, float32 (E,).

    `rank_EM` are `average_ranks` of the predictions, `label_EM` is true where the entry is active; entries with fewer
    than `min_active` active contexts, or no other, get NaN.
    """
    label_EM = label_EM.float()
    active_E = label_EM.sum(-1)
    inactive_E = label_EM.shape[-1] - active_E
    above_E = (label_EM * rank_EM).sum(-1) - active_E * (active_E + 1) / 2
    known_E = (active_E >= max(1, min_active)) & (inactive_E > 0)
    return torch.where(known_E, above_E / (active_E * inactive_E).clamp_min(1), torch.nan)
