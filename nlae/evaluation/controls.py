"""Controls that need no language model: what the mean, a table and a few numbers explain of the same rows.

Each is a *unit* vector, like a reconstruction, so that all share one scale:

* the mean: μ/‖μ‖ for every row.
* the last token: the mean of the training unit vectors at this row's token id, made unit again; μ/‖μ‖ for a token that
  was not seen in training.
* k principal components: the row's own unit vector, centred on μ, projected onto the first k principal directions of
  the training unit vectors, put back onto μ and made unit again: k numbers a row instead of words.

Everything is fitted on training rows at or after the site's first position.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.activations import ActivationRows
from nlae.functional.reconstruction import unit
from nlae.terminal.progress import track

BATCH = 4096


@dataclasses.dataclass(frozen=True)
class TrainingSummary:
    """What the controls know of the training rows.

    Attributes:
        mean_D: mean of unit vectors, not normalised.
        raw_mean_D: mean of raw vectors.
        token_ids: ascending ids for which there is a mean.
        token_mean_UD: mean unit vector of each of them, not normalised.
    """

    mean_D: Tensor
    raw_mean_D: Tensor
    token_ids: npt.NDArray[np.int64]
    token_mean_UD: Tensor

    def constant(self, n: int) -> Tensor:
        """μ/‖μ‖ n times, [n, D]."""
        return unit(self.mean_D[None]).expand(n, -1)

    def last_token(self, token_id_N: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The table's vector for each token [N, D], and whether the token was seen in training [N]."""
        out_ND = self.constant(len(token_id_N)).clone()
        if not len(self.token_ids):
            return out_ND, torch.zeros(len(token_id_N), dtype=torch.bool)
        place = np.searchsorted(self.token_ids, token_id_N).clip(max=len(self.token_ids) - 1)
        seen = torch.from_numpy(self.token_ids[place] == token_id_N)
        out_ND[seen] = unit(self.token_mean_UD[torch.from_numpy(place)[seen]])
        return out_ND, seen

    def rebuilt(self, truth_ND: Tensor, basis_kD: Tensor) -> Tensor:
        """The rows rebuilt from one number for each of k orthonormal directions, [N, D], unit."""
        centred_ND = truth_ND - self.mean_D
        return unit(self.mean_D + centred_ND @ basis_kD.T @ basis_kD)


def summarise(rows: ActivationRows, token_ids: npt.NDArray[np.int64], mean_D: Tensor | None = None) -> TrainingSummary:
    """One pass over the training rows.

    Args:
        rows: training rows.
        token_ids: ids whose means are wanted.
        mean_D: the checkpoint's μ, which everything is then centred on; None takes the mean of these rows.
    """
    wanted = np.unique(token_ids)
    sums: _Sums | None = None
    total = -(-len(rows) // BATCH)
    for indices, raw_BD in track(rows.batches(BATCH), total, description="fit controls"):
        sums = sums or _Sums(raw_BD.shape[1], len(wanted))
        sums.add(raw_BD, _places(rows.token_id[indices], wanted))
    if sums is None:
        raise ValueError("no training rows: the controls have nothing to be fitted on")
    own_mean_D = sums.unit_D / len(rows)
    mean_D = own_mean_D if mean_D is None else mean_D.double().cpu()
    seen = sums.count_U > 0
    return TrainingSummary(
        mean_D=mean_D.float(),
        raw_mean_D=sums.raw_D / len(rows),
        token_ids=wanted[seen.numpy()],
        token_mean_UD=(sums.token_UD[seen] / sums.count_U[seen, None]).float(),
    )


def principal_directions(rows: ActivationRows, count: int, covariance_rows: int) -> Tensor:
    """Principal directions of unit vectors around their own mean, largest first, orthonormal; float32 [≤ count, D].

    Args:
        rows: training rows.
        count: number of directions.
        covariance_rows: at most this many rows, evenly spaced, enter the covariance.
    """
    stride = max(1, -(-len(rows) // covariance_rows))
    total = -(-len(rows) // BATCH)
    sum_D, square_DD, seen = torch.zeros(()), torch.zeros(()), 0
    for indices, raw_BD in track(rows.batches(BATCH), total, description="fit principal components"):
        part_BD = unit(raw_BD).double()[torch.from_numpy(indices % stride == 0)]
        seen += len(part_BD)
        sum_D = sum_D + part_BD.sum(0)
        square_DD = square_DD + part_BD.T @ part_BD
    centre_D = sum_D / seen
    _, vectors_DD = torch.linalg.eigh(square_DD / seen - torch.outer(centre_D, centre_D))
    components_KD: Tensor = vectors_DD.flip(1).T[:count].float().contiguous()
    return components_KD


class _Sums:
    """Running sums in float64."""

    def __init__(self, width: int, tokens: int) -> None:
        self.unit_D = torch.zeros(width, dtype=torch.float64)
        self.raw_D = torch.zeros(width, dtype=torch.float64)
        self.token_UD = torch.zeros(tokens, width, dtype=torch.float64)
        self.count_U = torch.zeros(tokens, dtype=torch.float64)

    def add(self, raw_BD: Tensor, place_B: Tensor) -> None:
        """Add rows; `place_B` is −1 where the token is not wanted."""
        unit_BD = unit(raw_BD).double()
        self.unit_D += unit_BD.sum(0)
        self.raw_D += raw_BD.double().sum(0)
        known = place_B >= 0
        self.token_UD.index_add_(0, place_B[known], unit_BD[known])
        self.count_U.index_add_(0, place_B[known], torch.ones(int(known.sum()), dtype=torch.float64))


def _places(token_id_B: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> Tensor:
    if not len(wanted):
        return torch.full((len(token_id_B),), -1)
    place = np.searchsorted(wanted, token_id_B).clip(max=len(wanted) - 1)
    return torch.from_numpy(np.where(wanted[place] == token_id_B, place, -1))
