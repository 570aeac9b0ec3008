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

FIRING, OTHERS = 400, 2000
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
    def draw(cls, fires: Fires, entries: Tensor, rows: int, least: int, seed: int) -> Trials:
        """Draw them in one random order of the panel, the same for all entries.

        Args:
            fires: entries e -> where they fire, bool (e, M).
            entries: their numbers, int64 (E,).
            rows: contexts of the panel, M.
            least: firing contexts that an entry must have.
            seed: of the order.
        """
        order_M = torch.randperm(rows, generator=generator(seed, "trials", rows))
        fires_EF = torch.full((len(entries), FIRING), -1)
        other_EO = torch.full((len(entries), OTHERS), -1)
        for start in range(0, len(entries), _BLOCK):
            active_eM = fires(entries[start : start + _BLOCK])[:, order_M]
            _first(active_eM, order_M, fires_EF[start : start + _BLOCK])
            _first(~active_eM, order_M, other_EO[start : start + _BLOCK])
        return cls(fires_EF[:, : _used(fires_EF)], other_EO[:, : _used(other_EO)], least)

    def __len__(self) -> int:
        return len(self.fires_EF)

    def __getitem__(self, places: Tensor) -> Trials:
        return Trials(self.fires_EF[places], self.other_EO[places], self.least)

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
        for start in range(0, len(self), _BLOCK):
            places = torch.arange(start, min(start + _BLOCK, len(self)))
            said_eM = predict(places)
            fires_eF, other_eO = self.fires_EF[places], self.other_EO[places]
            there_eF, others_e = fires_eF >= 0, (other_eO >= 0).sum(-1)
            said_eF = said_eM.gather(1, fires_eF.clamp_min(0))
            said_eO = torch.where(other_eO >= 0, said_eM.gather(1, other_eO.clamp_min(0)), torch.inf).sort(-1).values
            below_eF = torch.searchsorted(said_eO, said_eF.contiguous()).minimum(others_e[:, None])
            upto_eF = torch.searchsorted(said_eO, said_eF.contiguous(), right=True).minimum(others_e[:, None])
            won_e = ((below_eF + upto_eF).float() / 2 * there_eF).sum(-1)
            area_E[places] = won_e / (there_eF.sum(-1) * others_e).clamp_min(1)
        return torch.where(self.scored_E, area_E, torch.nan)

    def resampled(self, predict: Predict, weight_RS: Tensor, work_M: Tensor) -> Tensor:
        """AUROC of one prediction per entry with every work counted as often as it was drawn, float32 (E, R).

        Args:
            predict: as for `auroc`.
            weight_RS: how often each work was drawn.
            work_M: work of each context.
        """
        weight_RM = weight_RS.float()[:, work_M]
        area_ER = torch.full((len(self), len(weight_RS)), torch.nan)
        scored_E = self.scored_E
        for start in range(0, len(self), _BLOCK):
            places = torch.arange(start, min(start + _BLOCK, len(self)))
            said_eM = predict(places)
            for row, entry in enumerate(places.tolist()):
                if not scored_E[entry]:
                    continue
                fires_f = self.fires_EF[entry][self.fires_EF[entry] >= 0]
                other_o = self.other_EO[entry][self.other_EO[entry] >= 0]
                said_o, order_o = said_eM[row, other_o].sort()
                below_Ro = torch.nn.functional.pad(weight_RM[:, other_o[order_o]].cumsum(1), (1, 0))
                said_f = said_eM[row, fires_f]
                left_f, right_f = (torch.searchsorted(said_o, said_f, right=right) for right in (False, True))
                weight_Rf = weight_RM[:, fires_f]
                won_R = ((below_Ro[:, left_f] + below_Ro[:, right_f]) / 2 * weight_Rf).sum(1)
                area_ER[entry] = won_R / (weight_Rf.sum(1) * below_Ro[:, -1])
        return area_ER


def _first(wanted_eM: Tensor, order_M: Tensor, out_eK: Tensor) -> None:
    """Fill `out_eK` with the first contexts that are wanted, in the order of the columns."""
    rank_eM = wanted_eM.int().cumsum(1)
    entry, column = torch.nonzero(wanted_eM & (rank_eM <= out_eK.shape[1]), as_tuple=True)
    out_eK[entry, (rank_eM[entry, column] - 1).long()] = order_M[column]


def _used(out_EK: Tensor) -> int:
    """Columns that hold anything, one at least."""
    return max(1, int((out_EK >= 0).any(0).sum()))
