"""Line-ups: a row's activation among nine others, from which a reconstruction is to pick it.

Others come from the whole test split and are drawn by the row's number and a seed: nothing that was written or rebuilt
is looked at. Two kinds, in which different things are given away for nothing:

* `document`: nine of the same source work (a passage has too few rows). Topic and style are alike in all ten; what is
  left is the place in the text, and quoting the last token gives most of it.
* `hard`: nine of other works on the same last token, so that this token says nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.activations import ActivationRows
from nlae.functional.randomness import derive_seed
from nlae.functional.reconstruction import unit

CHOICES = 10
BATCH = 256
KINDS = ("document", "hard")
Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class LineUps:
    """Candidates of M rows.

    Attributes:
        index_M: the rows, as indices among those that were measured.
        place_MC: candidates as indices into the pool; the row's own activation is the first.
    """

    index_M: Ints
    place_MC: Ints

    def __len__(self) -> int:
        return len(self.index_M)


def line_up(
    rows: ActivationRows, wanted: Sequence[int], pool: ActivationRows, kind: str, seed: int, choices: int = CHOICES
) -> LineUps:
    """A line-up for each wanted row that has enough others of its kind; the rest are left out.

    Args:
        rows: measured rows.
        wanted: indices of those that a line-up is drawn for.
        pool: rows that candidates come from; holds all wanted ones.
        kind: `document` or `hard`.
        seed: of the draw.
        choices: activations in a line-up, the row's own included.
    """
    assert kind in KINDS, kind
    place = {int(number): index for index, number in enumerate(pool.row)}
    alike = pool.source.astype(str) if kind == "document" else pool.token_id
    groups = {value: np.flatnonzero(alike == value) for value in np.unique(alike)}
    index, places = [], []
    for i in wanted:
        own = place[int(rows.row[i])]
        others = groups[alike[own]]
        others = others[others != own] if kind == "document" else others[pool.source[others] != rows.source[i]]
        if len(others) < choices - 1:
            continue
        rng = np.random.default_rng(derive_seed(seed, "retrieval", kind, int(rows.row[i])))
        index.append(i)
        places.append([own, *np.sort(rng.choice(others, choices - 1, replace=False)).tolist()])
    return LineUps(np.array(index, dtype=np.int64), np.array(places, dtype=np.int64).reshape(-1, choices))


def picked(lineups: LineUps, pred_MD: Tensor, pool: ActivationRows) -> Tensor:
    """Whether the own activation is the nearest to each reconstruction, float64 [M]; k equally near share the point.

    Args:
        lineups: the candidates.
        pred_MD: unit vectors, one for each line-up.
        pool: rows of the candidates.
    """
    shares = []
    for start in range(0, len(lineups), BATCH):
        place_BC = lineups.place_MC[start : start + BATCH]
        candidate_BCD = unit(pool.activations(place_BC.reshape(-1))).unflatten(0, place_BC.shape)
        pred_B1D = pred_MD[start : start + BATCH, None].double()
        distance_BC = (candidate_BCD.double() - pred_B1D).square().sum(-1)
        nearest_BC = distance_BC == distance_BC.min(dim=1, keepdim=True).values
        shares.append(nearest_BC[:, 0].double() / nearest_BC.sum(dim=1))
    return torch.cat(shares) if shares else torch.zeros(0, dtype=torch.float64)
