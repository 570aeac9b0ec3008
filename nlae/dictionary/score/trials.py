"""On which contexts an entry is scored: all in which it fires up to a limit, and a fixed number of others; how well.

The same works serve all entries. AUROC is how often a context in which the entry fires is ranked above one in which it
does not, ties half. Several predictions of an entry may be asked for at once; they stand in front. Shape suffixes:
E entries, M contexts of a panel, F firing, O others, K of either, R resamples, S works, X predictions of each entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nlae.functional.randomness import generator

FIRING, OTHERS = 400, 2000  # contexts of an entry at most, unless said otherwise
_BLOCK = 512
_SHARED = 4  # contexts of a block of entries are read together when they are this many times those of one entry at most
Fires = Callable[[Tensor], Tensor]  # entries e -> where they fire, bool (e, M)
Predict = Callable[[Tensor, Tensor], Tensor]  # places of entries e, contexts (e, K) -> what is said of them, (…, e, K)


@dataclass(frozen=True)
class Readings:
    """Predictions of one or several readings of each entry: their inner products with contexts, float32."""

    reading_XED: Tensor
    context_MD: Tensor

    def __call__(self, places: Tensor, row_eK: Tensor) -> Tensor:
        """What is said of contexts, float32 (…, e, K); anything where a context is −1."""
        said_XeD = self.reading_XED[..., places, :]
        used_M = torch.zeros(len(self.context_MD), dtype=torch.bool)
        used_M[row_eK.clamp_min(0)] = True
        shared_u = torch.nonzero(used_M)[:, 0]
        if len(shared_u) <= _SHARED * row_eK.shape[1]:  # others are nearly the same for all entries
            place_eK = (used_M.cumsum(0) - 1)[row_eK.clamp_min(0)]
            said_Xeu = said_XeD @ self.context_MD[shared_u].T
            return said_Xeu.gather(-1, place_eK.expand(*said_Xeu.shape[:-1], -1))
        out_XeK = torch.zeros(*said_XeD.shape[:-1], row_eK.shape[1])
        for place, count in enumerate((row_eK >= 0).sum(-1).tolist()):
            own_kD = self.context_MD[row_eK[place, :count]]
            out_XeK[..., place, :count] = said_XeD[..., place, :] @ own_kD.T
        return out_XeK


@dataclass(frozen=True)
class Trials:
    """Contexts on which entries are scored.

    Attributes:
        fires_EF: contexts in which each entry fires, int64, −1 behind them where it has fewer.
        other_EO: contexts in which it does not, int64, −1 behind them where there are fewer.
        least: entries with fewer firing contexts are not scored.
    """

    fires_EF: Tensor
    other_EO: Tensor
    least: int

    @classmethod
    def draw(
        cls, fires: Fires, entries: Tensor, rows: int, least: int, seed: int, most: tuple[int, int] = (FIRING, OTHERS)
    ) -> Trials:
        """Draw them in one random order of the panel of `rows` contexts, the same for all entries.

        `fires` says where `entries`, int64 (E,), fire; each has `most` firing contexts and others at most.
        """
        order_M = torch.randperm(rows, generator=generator(seed, "trials", rows))
        parts = []
        for entry_e in entries.split(_BLOCK):
            active_eM = fires(entry_e)[:, order_M]
            wanted = zip((active_eM, ~active_eM), most, strict=True)
            parts.append([_first(wanted_eM, order_M, count) for wanted_eM, count in wanted])
        fires_EF, other_EO = (_used(torch.cat(side)) for side in zip(*parts, strict=True))
        return cls(fires_EF, other_EO, least)

    def __len__(self) -> int:
        return len(self.fires_EF)

    def __getitem__(self, places: Tensor) -> Trials:
        return Trials(self.fires_EF[places], self.other_EO[places], self.least)

    def spread(self, entries: Tensor, total: int) -> Trials:
        """The same among more entries, of which the others have no contexts and so no score."""
        fires_EF, other_EO = (
            torch.full((total, row.shape[1]), -1).index_copy(0, entries, row) for row in (self.fires_EF, self.other_EO)
        )
        return Trials(fires_EF, other_EO, self.least)

    @property
    def scored(self) -> Tensor:
        """Places of the entries that have enough firing contexts, int64 ascending."""
        enough_E = (self.fires_EF >= 0).sum(-1) >= self.least
        return torch.nonzero(enough_E & (self.other_EO >= 0).any(-1))[:, 0]

    def auroc(self, predict: Predict) -> Tensor:
        """Of each prediction, float32 (…, E); NaN where an entry is not scored."""
        parts = [
            _mean(_placements(said_XeF, said_XeO, other_eO >= 0), fires_eF >= 0)
            for fires_eF, other_eO, said_XeF, said_XeO in self._predicted(predict)
        ]
        return self._among_all(torch.cat(parts, -1), torch.nan)

    def resampled(self, predict: Predict, weight_RS: Tensor, work_M: Tensor) -> Tensor:
        """AUROC of each prediction with every work counted as often as `weight_RS` says, float32 (…, E, R).

        The structural components of AUROC (DeLong et al. 1988), summed by work (Obuchowski 1997), are what each work
        adds when it is counted once more: under resampled works AUROC moves by weights times these, up to second order,
        so that no resample has to be ranked again. `work_M` is the work of each context, 0 to S − 1.
        """
        areas, shares = [], []
        for fires_eF, other_eO, said_XeF, said_XeO in self._predicted(predict):
            won_XeF = _placements(said_XeF, said_XeO, other_eO >= 0)
            lost_XeO = 1 - _placements(said_XeO, said_XeF, fires_eF >= 0)
            areas.append(_mean(won_XeF, fires_eF >= 0))
            share_XeS = torch.zeros(*areas[-1].shape, weight_RS.shape[1])
            for won, row in ((won_XeF, fires_eF), (lost_XeO, other_eO)):
                there = row >= 0
                moved = torch.where(there, won - areas[-1][..., None], 0.0) / there.sum(-1, keepdim=True).clamp_min(1)
                share_XeS.scatter_add_(-1, work_M[row.clamp_min(0)].expand(moved.shape), moved)
            shares.append(share_XeS)
        area_XE = self._among_all(torch.cat(areas, -1), torch.nan)
        share_XES = self._among_all(torch.cat(shares, -2), 0.0, -2)
        return (area_XE[..., None] + share_XES @ (weight_RS.float() - 1).T).clamp(0, 1)

    def _predicted(self, predict: Predict) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Contexts of blocks of scored entries, (e, F) and (e, O), and predictions of both, (…, e, F) and (…, e, O)."""
        for places in self.scored.split(_BLOCK):
            fires_eF, other_eO = self.fires_EF[places], self.other_EO[places]
            yield fires_eF, other_eO, predict(places, fires_eF), predict(places, other_eO)

    def _among_all(self, value: Tensor, missing: float, dim: int = -1) -> Tensor:
        """Values of scored entries in their places among all, which stand in one dimension."""
        shape = list(value.shape)
        shape[dim] = len(self)
        return torch.full(shape, missing).index_copy(dim, self.scored, value)


def _mean(value_XeK: Tensor, there_eK: Tensor) -> Tensor:
    """Over the contexts that are there, (…, e)."""
    return (value_XeK * there_eK).sum(-1) / there_eK.sum(-1).clamp_min(1)


def _placements(said_Xex: Tensor, said_Xey: Tensor, there_ey: Tensor) -> Tensor:
    """Share of the y that each x is ranked above, ties half, float32 (…, e, x)."""
    # numpy sorts values several times faster than torch, which sorts places with them
    sorted_Xey = torch.from_numpy(np.sort(torch.where(there_ey, said_Xey, torch.inf).numpy(), -1))
    count_e1 = there_ey.sum(-1, keepdim=True)
    said_Xex = said_Xex.contiguous()
    below_Xex = torch.searchsorted(sorted_Xey, said_Xex).minimum(count_e1)
    upto_Xex = torch.searchsorted(sorted_Xey, said_Xex, right=True).minimum(count_e1)
    return (below_Xex + upto_Xex).float() / 2 / count_e1.clamp_min(1)


def _first(wanted_eM: Tensor, order_M: Tensor, most: int) -> Tensor:
    """The first contexts that are wanted, in the order of the columns, −1 behind them; int64 (e, most)."""
    rank_eM = wanted_eM.cumsum(-1)
    entry, column = torch.nonzero(wanted_eM & (rank_eM <= most), as_tuple=True)
    out_eK = torch.full((len(wanted_eM), most), -1)
    out_eK[entry, rank_eM[entry, column] - 1] = order_M[column]
    return out_eK


def _used(row_EK: Tensor) -> Tensor:
    """The columns that hold anything, one at least."""
    return row_EK[:, : max(1, int((row_EK >= 0).any(0).sum()))]
