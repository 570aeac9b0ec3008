"""Fidelity of reconstructions: squared errors, the one ratio that makes FVE and R² of them, shrinking, ranks.

Every function takes tensors and gives tensors or floats; sums run in float64. Shape suffixes: N rows, M other rows, D
width. Left out on purpose: intervals (``functional/bootstrap.py``), and cosine as a headline, which cannot be compared
across models.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlae.functional.scaling import unit

__all__ = [
    "explained",
    "fit_scale",
    "fit_shrink",
    "fve",
    "per_token_fve",
    "rank",
    "shrink",
    "shuffled_cosine",
    "spread",
    "squared_error",
    "unit",
]

UNIT_TOLERANCE = 1e-3
RANK_CHUNK = 64  # rows a block: [64, M, D] doubles stay within tens of megabytes


def squared_error(pred_ND: Tensor, true_ND: Tensor) -> Tensor:
    """Squared distance of each row pair, float64 [N].

    Raises:
        ValueError: the shapes differ or an entry is not finite.
    """
    _check_pair(pred_ND, true_ND)
    return (pred_ND.double() - true_ND.double()).square().sum(dim=-1)


def spread(true_ND: Tensor, mean_D: Tensor) -> Tensor:
    """Squared distance of each unit vector from the un-normalised training mean, float64 [N]: the FVE's denominator."""
    _check_unit(true_ND, "true_ND")
    return (true_ND.double() - mean_D.double()).square().sum(dim=-1)


def explained(error: Tensor, total: Tensor | float) -> Tensor:
    """1 − `error` / `total`, entry by entry: the one ratio behind every FVE, R², interval and per-token figure."""
    return 1 - error / total


def fve(error_N: Tensor, spread_N: Tensor) -> float:
    """Fraction of variance explained: 1 − Σ‖ĥ−ĥ'‖² / Σ‖ĥ−μ‖².

    Args:
        error_N: `squared_error` of the reconstructions.
        spread_N: `spread` of the same rows; for an R² of another kind, squared distances from that kind's mean.

    Returns:
        1 is perfect; 0 is *not* chance: a unit constant scores below 0 and a shuffled pairing about −1.

    Raises:
        ValueError: the shapes differ, or all rows equal μ.
    """
    if error_N.shape != spread_N.shape:
        raise ValueError(f"expected errors and spreads of one shape, got {error_N.shape} and {spread_N.shape}")
    total = spread_N.sum()
    if total == 0:
        raise ValueError("every true row equals the mean: the fraction of variance explained is undefined")
    return float(explained(error_N.sum(), total))


def per_token_fve(error_N: Tensor, variance: float) -> Tensor:
    """1 − ‖ĥ−ĥ'‖² / `variance` for each row, [N]; `variance` is the training mean of ‖ĥ−μ‖² for every token.

    Raises:
        ValueError: the variance is not positive.
    """
    if not variance > 0:
        raise ValueError(f"variance must be positive, got {variance}")
    return explained(error_N, variance)


def fit_shrink(pred_ND: Tensor, true_ND: Tensor, mean_D: Tensor) -> float:
    """The s in [0, 1] for which μ + s(ĥ' − μ) has the least squared error to ĥ; fitted on validation rows only."""
    _check_pair(pred_ND, true_ND)
    mean_D = mean_D.double()
    towards_ND, wanted_ND = pred_ND.double() - mean_D, true_ND.double() - mean_D
    length = float(towards_ND.square().sum())
    if length == 0:
        return 0.0
    return min(1.0, max(0.0, float((towards_ND * wanted_ND).sum()) / length))


def shrink(pred_ND: Tensor, mean_D: Tensor, factor: Tensor | float) -> Tensor:
    """μ + `factor`·(ĥ' − μ), float64 [N, D]; not normalised again, since shortening is the point.

    The factor is one number, or one for each column [D].
    """
    mean_D = mean_D.double()
    return mean_D + factor * (pred_ND.double() - mean_D)


def rank(pred_ND: Tensor, true_ND: Tensor, others: Tensor) -> Tensor:
    """Place of the true activation among others by distance to the reconstruction, float64 [N]; 1 is first.

    Args:
        pred_ND: reconstructions, unit norm.
        true_ND: the activations they stand for, unit norm.
        others: other activations, unit norm, [M, D] for all rows or [N, M, D] for each.

    Returns:
        1 + number of others strictly closer + half the number exactly as close, so 1 … M+1.
    """
    _check_pair(pred_ND, true_ND)
    places = []
    for start in range(0, len(pred_ND), RANK_CHUNK):
        part = slice(start, start + RANK_CHUNK)
        pred_n1D = pred_ND[part].double().unsqueeze(1)
        other_nM = ((others[part] if others.dim() == 3 else others).double() - pred_n1D).square().sum(dim=-1)
        own_n1 = (pred_n1D - true_ND[part].double().unsqueeze(1)).square().sum(dim=-1)
        places.append(1 + (other_nM < own_n1).sum(dim=1).double() + 0.5 * (other_nM == own_n1).sum(dim=1).double())
    return torch.cat(places)


def shuffled_cosine(pred_ND: Tensor, true_ND: Tensor, group_N: Tensor) -> Tensor:
    """Mean cosine of each activation with the reconstructions of all *other* groups, float64 [N]: a shuffled pairing.

    The mean over every such pairing is taken, not one drawn permutation, so nothing depends on a seed. Reconstructions
    that are not finite are left out; NaN where nothing is left.

    Args:
        pred_ND: reconstructions, unit norm.
        true_ND: activations, unit norm.
        group_N: what each row is about; rows of one group are not one another's control.
    """
    known_N = torch.isfinite(pred_ND).all(dim=-1)
    pred_ND = torch.where(known_N[:, None], pred_ND.double(), 0.0)
    _, member_N = torch.unique(group_N, return_inverse=True)
    sum_GD = pred_ND.new_zeros(int(member_N.max()) + 1, pred_ND.shape[1]).index_add(0, member_N, pred_ND)
    count_G = pred_ND.new_zeros(len(sum_GD)).index_add(0, member_N, known_N.double())
    others_ND = sum_GD.sum(dim=0) - sum_GD[member_N]
    count_N = count_G.sum() - count_G[member_N]
    cosine_N = (true_ND.double() * others_ND).sum(dim=-1) / count_N
    return torch.where(count_N > 0, cosine_N, torch.nan)


def fit_scale(pred_ND: Tensor, raw_ND: Tensor) -> float:
    """The scalar c for which c·ĥ' has the least squared error to the raw activations; fitted on training rows only."""
    _check_pair(pred_ND, raw_ND)
    length = float(pred_ND.double().square().sum())
    return float((pred_ND.double() * raw_ND.double()).sum()) / length if length else 0.0


def _check_pair(pred_ND: Tensor, true_ND: Tensor) -> None:
    if pred_ND.shape != true_ND.shape or pred_ND.dim() != 2 or not len(pred_ND):
        raise ValueError(
            f"expected two [N, D] tensors of one shape, N >= 1, got {tuple(pred_ND.shape)} and {tuple(true_ND.shape)}"
        )
    if not (torch.isfinite(pred_ND).all() and torch.isfinite(true_ND).all()):
        raise ValueError("found values that are not finite among the vectors to compare")


def _check_unit(x_ND: Tensor, name: str) -> None:
    off = (x_ND.double().norm(dim=-1) - 1).abs()
    if off.numel() and not float(off.max()) <= UNIT_TOLERANCE:
        raise ValueError(
            f"{name} must be unit-norm rows: use unit() first; the worst row is off by {float(off.max()):.3g}"
        )
