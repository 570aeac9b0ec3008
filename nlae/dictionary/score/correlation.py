"""How well predictions rank contexts and tell how strongly entries fire: AUROC, rank correlation, explained variance.

Ranks are averaged over ties. Shape suffixes: E entries, M contexts, n columns, D width.
"""

import torch
from scipy.stats import rankdata
from torch import Tensor

from nlae.functional.reconstruction import explained

_PENALTY = 1e-3  # of the mean diagonal of the best linear reading's normal matrix


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


def spearman(said_EM: Tensor, true_EM: Tensor) -> Tensor:
    """Rank correlation of each prediction with its activation, float32 (E,); NaN where one is constant."""
    left_EM, right_EM = (_standard(average_ranks(value_EM)) for value_EM in (said_EM, true_EM))
    varies_E = (left_EM != 0).any(-1) & (right_EM != 0).any(-1)
    return torch.where(varies_E, (left_EM * right_EM).sum(-1), torch.nan)


def r2(said_EM: Tensor, true_EM: Tensor, said_select_EM: Tensor, true_select_EM: Tensor) -> Tensor:
    """Variance explained by a prediction whose scale and shift were fitted on other works, float32 (E,)."""
    mean_E1 = true_select_EM.mean(-1, keepdim=True)
    centred_EM = said_select_EM - said_select_EM.mean(-1, keepdim=True)
    slope_E1 = (centred_EM * (true_select_EM - mean_E1)).sum(-1, keepdim=True)
    slope_E1 = slope_E1 / centred_EM.square().sum(-1, keepdim=True).clamp_min(1e-12)
    fitted_EM = mean_E1 + slope_E1 * (said_EM - said_select_EM.mean(-1, keepdim=True))
    error_E = (true_EM - fitted_EM).double().square().sum(-1)
    spread_E = (true_EM - mean_E1).double().square().sum(-1)
    return torch.where(spread_E > 0, explained(error_E, spread_E), torch.nan).float()


def linear_r2(train_MD: Tensor, train_Mn: Tensor, test_MD: Tensor, test_Mn: Tensor) -> Tensor:
    """Variance explained by the best linear reading of whitened inputs, fitted on training works; float32 (n,)."""
    mean_D, mean_n = train_MD.mean(0), train_Mn.mean(0)
    centred_MD = train_MD - mean_D
    gram_DD = (centred_MD.T @ centred_MD).double()
    damped_DD = gram_DD + _PENALTY * gram_DD.diagonal().mean() * torch.eye(len(gram_DD), dtype=torch.float64)
    right_Dn = (centred_MD.T @ train_Mn).double()  # what is centred has no part in a mean
    map_Dn = torch.cholesky_solve(right_Dn, torch.linalg.cholesky(damped_DD)).float()
    error_n = (test_Mn - mean_n - (test_MD - mean_D) @ map_Dn).double().square().sum(0)
    spread_n = (test_Mn - mean_n).double().square().sum(0)
    return torch.where(spread_n > 0, explained(error_n, spread_n), torch.nan).float()


def _standard(value_EM: Tensor) -> Tensor:
    centred_EM = value_EM - value_EM.mean(-1, keepdim=True)
    return centred_EM / centred_EM.norm(dim=-1, keepdim=True).clamp_min(1e-12)
