"""On which contexts an entry is scored: all in which it fires up to a limit, and a fixed number of others; how well.

The same works serve all entries. AUROC is how often a context in which the entry fires is ranked above one in which it
does not, ties half. Several predictions of an entry may be asked for at once; they stand in front. Shape suffixes:
E entries, M contexts of a panel, F firing, O others, K of either, R resamples, S works, X predictions of each entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nlae.functional.randomness import generator

FIRING, OTHERS = 400, 2000  # contexts of an entry at most, unless said otherwise
_BLOCK = 512
_SHARED = 4  # contexts of a block of entries are read together when they are this many times those of one entry at most
Fires = Callable[[Tensor], Tensor]
Predict = Callable[[Tensor, Tensor], Tensor]  # places of entries e, contexts (e, K) -> what is said of them, (…, e, K)


@dataclass(frozen=True)
class Readings:
    """Predictions of readings: their inner products with contexts.

    Attributes:
        reading_XED: of one or several descriptions of each entry, float32.
        context_MD: in the same space.
    """

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
        """Draw them in one random order of the panel, the same for all entries.

        Args:
            fires: entries e -> where they fire, bool (e, M).
            entries: their numbers, int64 (E,).
            rows: contexts of the panel, M.
            least: firing contexts that an entry must have.
            seed: of the order.
            most: firing contexts and others of each entry at most.
        """
        order_M = torch.randperm(rows, generator=generator(seed, "trials", rows))
        fires_EF = torch.full((len(entries), most[0]), -1)
        other_EO = torch.full((len(entries), most[1]), -1)
        for part in (slice(start, start + _BLOCK) for start in range(0, len(entries), _BLOCK)):
            active_eM = fires(entries[part])[:, order_M]
            _first(active_eM, order_M, fires_EF[part])
            soon_eM = ~active_eM[:, : 2 * most[1]]  # enough, but for entries that fire half of the time
            _first(soon_eM, order_M, other_EO[part])
            short_e = torch.nonzero(other_EO[part][:, -1] < 0)[:, 0]
            if len(short_e) and soon_eM.shape[1] < rows:
                again_sO = torch.full((len(short_e), most[1]), -1)
                _first(~active_eM[short_e], order_M, again_sO)
                other_EO[part.start + short_e] = again_sO
        return cls(fires_EF[:, : _used(fires_EF)], other_EO[:, : _used(other_EO)], least)

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
    def scored_E(self) -> Tensor:
        """Which entries have enough firing contexts, bool (E,)."""
        return ((self.fires_EF >= 0).sum(-1) >= self.least) & (self.other_EO >= 0).any(-1)

    def auroc(self, predict: Predict) -> Tensor:
        """Of each prediction, float32 (…, E); NaN where an entry is not scored.

        Args:
            predict: places of entries e and contexts (e, K) -> predictions (…, e, K).
        """
        parts = []
        scored = torch.nonzero(self.scored_E)[:, 0]
        for places in scored.split(_BLOCK):
            fires_eF, other_eO = self.fires_EF[places], self.other_EO[places]
            won_XeF = _placements(predict(places, fires_eF), predict(places, other_eO), other_eO >= 0)
            parts.append(_mean(won_XeF, fires_eF >= 0))
        area_Xe = torch.cat(parts, -1)
        return torch.full((*area_Xe.shape[:-1], len(self)), torch.nan).index_copy(-1, scored, area_Xe)

    def influence(self, predict: Predict, work_M: Tensor, works: int) -> tuple[Tensor, Tensor]:
        """AUROC, and what each work adds to it when it is counted once more: float32 (…, E) and (…, E, S).

        The structural components of AUROC (DeLong et al. 1988), summed by work (Obuchowski 1997): under resampled works
        AUROC moves by weights times these, up to second order, so that no resample has to be ranked again.

        Args:
            predict: as for `auroc`.
            work_M: work of each context.
            works: how many there are, S.
        """
        areas, shares = [], []
        scored = torch.nonzero(self.scored_E)[:, 0]
        for places in scored.split(_BLOCK):
            fires_eF, other_eO = self.fires_EF[places], self.other_EO[places]
            said_XeF, said_XeO = predict(places, fires_eF), predict(places, other_eO)
            won_XeF = _placements(said_XeF, said_XeO, other_eO >= 0)
            lost_XeO = 1 - _placements(said_XeO, said_XeF, fires_eF >= 0)
            areas.append(_mean(won_XeF, fires_eF >= 0))
            share_XeS = torch.zeros(*areas[-1].shape, works)
            for won, row in ((won_XeF, fires_eF), (lost_XeO, other_eO)):
                there = row >= 0
                moved = torch.where(there, won - areas[-1][..., None], 0.0) / there.sum(-1, keepdim=True).clamp_min(1)
                share_XeS.scatter_add_(-1, work_M[row.clamp_min(0)].expand(moved.shape), moved)
            shares.append(share_XeS)
        area_Xe, share_XeS = torch.cat(areas, -1), torch.cat(shares, -2)
        shape = (*area_Xe.shape[:-1], len(self))
        return (
            torch.full(shape, torch.nan).index_copy(-1, scored, area_Xe),
            torch.zeros(*shape, works).index_copy(-2, scored, share_XeS),
        )

    def resampled(self, predict: Predict, weight_RS: Tensor, work_M: Tensor) -> Tensor:
        """AUROC of each prediction with every work counted as often as it was drawn, float32 (…, E, R).

        Args:
            predict: as for `auroc`.
            weight_RS: how often each work was drawn.
            work_M: work of each context.
        """
        area_XE, share_XES = self.influence(predict, work_M, weight_RS.shape[1])
        return (area_XE[..., None] + share_XES @ (weight_RS.float() - 1).T).clamp(0, 1)


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


def _first(wanted_eM: Tensor, order_M: Tensor, out_eK: Tensor) -> None:
    """Fill `out_eK` with the first contexts that are wanted, in the order of the columns."""
    entry, column = torch.nonzero(wanted_eM, as_tuple=True)
    start_e = torch.searchsorted(entry, torch.arange(len(wanted_eM)))
    rank = torch.arange(len(entry)) - start_e[entry]
    kept = rank < out_eK.shape[1]
    out_eK[entry[kept], rank[kept]] = order_M[column[kept]]


def _used(out_EK: Tensor) -> int:
    """Columns that hold anything, one at least."""
    return max(1, int((out_EK >= 0).any(0).sum()))
