"""AUROC and Spearman of many predictions for many entries at once, by ranks with ties averaged.

One matrix product of labels and ranks gives the AUROC of every prediction for every entry, so that the cost grows with
contexts and candidates and not with entries × candidates × contexts². Shape suffixes: E entries, C predictions,
M contexts, T kinds of context that share one prediction (tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(value_CM: Tensor) -> Tensor:
    """Ranks 1 … M within each row, equal values sharing the mean of their ranks; float32 (C, M)."""
    return weighted_ranks(value_CM, torch.ones(value_CM.shape[-1], device=value_CM.device))


def weighted_ranks(value_CT: Tensor, weight_T: Tensor) -> Tensor:
    """Mean rank of each kind where kind t stands for `weight_T[t]` contexts of one value; float32 (C, T).

    Equal to `average_ranks` of the contexts written out. Exact while the number of contexts stays below 2²³.
    """
    sorted_CT, order_CT = value_CT.sort(-1)
    total_CT = weight_T.float()[order_CT].cumsum(-1)
    last = torch.ones_like(sorted_CT[:, :1], dtype=torch.bool)
    ends_CT = torch.cat([sorted_CT[:, 1:] != sorted_CT[:, :-1], last], -1)
    # number of contexts up to the end of a run of equal values, and up to the end of the run before it
    upto_CT = torch.where(ends_CT, total_CT, torch.inf).flip(-1).cummin(-1).values.flip(-1)
    shifted_CT = torch.where(ends_CT, total_CT, 0.0).cummax(-1).values.roll(1, -1)
    shifted_CT[:, 0] = 0.0
    mean_CT = (upto_CT + shifted_CT + 1) / 2
    return torch.empty_like(mean_CT).scatter_(-1, order_CT, mean_CT)


def auroc(rank_CM: Tensor, label_EM: Tensor, min_active: int = 1) -> Tensor:
    """Area under the ROC curve of every prediction for every entry, float32 (E, C).

    Args:
        rank_CM: `average_ranks` of the predictions.
        label_EM: true where the entry is active.
        min_active: entries with fewer active (or no inactive) contexts get NaN.
    """
    label_EM = label_EM.float()
    return _area(label_EM @ rank_CM.T, label_EM.sum(-1, keepdim=True), label_EM.shape[-1], min_active)


def auroc_own(rank_EM: Tensor, label_EM: Tensor, min_active: int = 1) -> Tensor:
    """As `auroc` where every entry has one prediction of its own, float32 (E,)."""
    label_EM = label_EM.float()
    sum_E1 = (label_EM * rank_EM).sum(-1, keepdim=True)
    return _area(sum_E1, label_EM.sum(-1, keepdim=True), label_EM.shape[-1], min_active)[:, 0]


def auroc_by_kind(value_ET: Tensor, weight_T: Tensor, active_ET: Tensor, min_active: int = 1) -> Tensor:
    """As `auroc_own` where a prediction depends on the kind of the context alone, float32 (E,).

    Args:
        value_ET: prediction per kind.
        weight_T: contexts of each kind.
        active_ET: those among them at which the entry is active.
        min_active: entries with fewer active contexts get NaN.
    """
    rank_ET = weighted_ranks(value_ET, weight_T)
    active_ET = active_ET.float()
    sum_E1 = (active_ET * rank_ET).sum(-1, keepdim=True)
    return _area(sum_E1, active_ET.sum(-1, keepdim=True), int(weight_T.sum()), min_active)[:, 0]


def _area(sum_EC: Tensor, active_E1: Tensor, total: int, min_active: int) -> Tensor:
    inactive_E1 = total - active_E1
    area_EC = (sum_EC - active_E1 * (active_E1 + 1) / 2) / (active_E1 * inactive_E1).clamp_min(1)
    known_E1 = (active_E1 >= max(1, min_active)) & (inactive_E1 > 0)
    return torch.where(known_E1, area_EC, torch.nan)


def spearman(rank_EM: Tensor, rank_CM: Tensor) -> Tensor:
    """Rank correlation of every entry's activation with every prediction, float32 (E, C); NaN where one is constant."""
    return _standard(rank_EM) @ _standard(rank_CM).T


def _standard(rank_CM: Tensor) -> Tensor:
    centred_CM = rank_CM - rank_CM.mean(-1, keepdim=True)
    norm_C1 = centred_CM.norm(dim=-1, keepdim=True)
    return torch.where(norm_C1 > 0, centred_CM / norm_C1.clamp_min(1e-30), torch.nan)


def spearman_within(value_EM: Tensor, prediction_EM: Tensor, keep_EM: Tensor, minimum: int = 3) -> Tensor:
    """Rank correlation over the kept contexts of each entry alone, float32 (E,).

    Args:
        value_EM: activations.
        prediction_EM: one prediction per entry and context.
        keep_EM: contexts that count.
        minimum: entries with fewer kept contexts get NaN.
    """
    # what is left out ranks above everything kept, so ranks of the kept are those among themselves
    ranks = [average_ranks(torch.where(keep_EM, item, torch.inf)) for item in (value_EM, prediction_EM)]
    count_E1 = keep_EM.sum(-1, keepdim=True)
    centred = [torch.where(keep_EM, rank - (count_E1 + 1) / 2, 0.0) for rank in ranks]
    norms = centred[0].norm(dim=-1) * centred[1].norm(dim=-1)
    known_E = (count_E1[:, 0] >= minimum) & (norms > 0)
    return torch.where(known_E, (centred[0] * centred[1]).sum(-1) / norms.clamp_min(1e-30), torch.nan)
