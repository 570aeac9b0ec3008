"""On which contexts an entry is scored: all in which it fires up to a limit, and a fixed number of others; how well.

The same works serve all entries. AUROC is how often a context in which the entry fires is ranked above one in which it
does not, ties half. Shape suffixes: E entries, M contexts of a panel, F firing, O others, R resamples, S works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nlae.functional.randomness import generator

FIRING, OTHERS = 400, 2000  # contexts of an entry at most, unless said otherwise
_BLOCK = 512
Fires = Callable[[Tensor], Tensor]
Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trials:
    """Contexts on which entries are scored.

    Attributes:
        fires_EF: contexts in which each entry fires, int64, −1 where it has fewer.
        other_EO: contexts in which it does not, int64, −1 where there are fewer.
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
        for start in range(0, len(entries), _BLOCK):
            active_eM = fires(entries[start : start + _BLOCK])[:, order_M]
            _first(active_eM, order_M, fires_EF[start : start + _BLOCK])
            _first(~active_eM, order_M, other_EO[start : start + _BLOCK])
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
        """Of one prediction per entry, float32 (E,); NaN where an entry is not scored.

        Args:
            predict: places of entries e -> predictions on the whole panel, (e, M).
        """
        area_E = torch.full((len(self),), torch.nan)
        for places in torch.nonzero(self.scored_E)[:, 0].split(_BLOCK):
            said_eM = predict(places)
            fires_eF, other_eO = self.fires_EF[places], self.other_EO[places]
            there_eF = fires_eF >= 0
            said_eF, said_eO = (said_eM.gather(1, row.clamp_min(0)) for row in (fires_eF, other_eO))
            won_eF = _placements(said_eF, said_eO, other_eO >= 0)
            area_E[places] = (won_eF * there_eF).sum(-1) / there_eF.sum(-1).clamp_min(1)
        return area_E

    def influence(self, predict: Predict, work_M: Tensor, works: int) -> tuple[Tensor, Tensor]:
        """AUROC, and what each work adds to it when it is counted once more: float32 (E,) and (E, S).

        The structural components of AUROC (DeLong et al. 1988), summed by work (Obuchowski 1997): under resampled works
        AUROC moves by weights times these, up to second order, so that no resample has to be ranked again.

        Args:
            predict: as for `auroc`.
            work_M: work of each context.
            works: how many there are, S.
        """
        area_E, share_ES = torch.full((len(self),), torch.nan), torch.zeros(len(self), works)
        for places in torch.nonzero(self.scored_E)[:, 0].split(_BLOCK):
            fires_eF, other_eO = self.fires_EF[places], self.other_EO[places]
            said_eM = predict(places)
            said_eF = said_eM.gather(1, fires_eF.clamp_min(0))
            said_eO = said_eM.gather(1, other_eO.clamp_min(0))
            won_eF = _placements(said_eF, said_eO, other_eO >= 0)
            lost_eO = 1 - _placements(said_eO, said_eF, fires_eF >= 0)
            area_e = torch.zeros(len(places))
            for won, row in ((won_eF, fires_eF), (lost_eO, other_eO)):
                there = row >= 0
                count_e1 = there.sum(-1, keepdim=True).clamp_min(1)
                area_e = (won * there).sum(-1) / count_e1[:, 0]
                moved = torch.where(there, won - area_e[:, None], 0.0) / count_e1
                share_ES[places] = share_ES[places].scatter_add(1, work_M[row.clamp_min(0)], moved)
            area_E[places] = area_e
        return area_E, share_ES

    def resampled(self, predict: Predict, weight_RS: Tensor, work_M: Tensor) -> Tensor:
        """AUROC of one prediction per entry with every work counted as often as it was drawn, float32 (E, R).

        Args:
            predict: as for `auroc`.
            weight_RS: how often each work was drawn.
            work_M: work of each context.
        """
        area_E, share_ES = self.influence(predict, work_M, weight_RS.shape[1])
        return (area_E[:, None] + share_ES @ (weight_RS.float() - 1).T).clamp(0, 1)


def _placements(said_eX: Tensor, said_eY: Tensor, there_eY: Tensor) -> Tensor:
    """Share of the Y that each X is ranked above, ties half, float32 (e, X)."""
    sorted_eY = torch.where(there_eY, said_eY, torch.inf).sort(-1).values
    count_e1 = there_eY.sum(-1, keepdim=True)
    said_eX = said_eX.contiguous()
    below_eX = torch.searchsorted(sorted_eY, said_eX).minimum(count_e1)
    upto_eX = torch.searchsorted(sorted_eY, said_eX, right=True).minimum(count_e1)
    return (below_eX + upto_eX).float() / 2 / count_e1.clamp_min(1)


def _first(wanted_eM: Tensor, order_M: Tensor, out_eK: Tensor) -> None:
    """Fill `out_eK` with the first contexts that are wanted, in the order of the columns."""
    rank_eM = wanted_eM.int().cumsum(1)
    entry, column = torch.nonzero(wanted_eM & (rank_eM <= out_eK.shape[1]), as_tuple=True)
    out_eK[entry, (rank_eM[entry, column] - 1).long()] = order_M[column]


def _used(out_EK: Tensor) -> int:
    """Columns that hold anything, one at least."""
    return max(1, int((out_EK >= 0).any(0).sum()))
