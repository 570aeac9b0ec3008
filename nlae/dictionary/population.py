"""Columns of one block that go through everything alike: its neurons, or a random rotation of them, which is the null.

An *entry* is one sign of one column; arrays over entries have all of "+" first, then all of "−" (E = 2n). An entry
fires above a high quantile of its own activations on training works, and never at or below 0, where its sign would not
show. Everything goes in blocks of columns, so that memory does not grow with the width of the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nlae.functional.randomness import derive_seed, generator

BLOCK = 512  # columns that are looked at at once
SPARE = 4  # contexts looked at for each one that is kept, as some share a passage
TRAINED, A, B = 0, 1, 2
_TENTHS = 10


@dataclass(frozen=True)
class Population:
    """Activations of n columns on all panels, where each entry fires, and where it is strongest.

    Attributes:
        values: role -> float32 (M, n).
        threshold_E: an entry fires above it.
        row_EK: its strongest training contexts, one per passage, int64, −1 where sign · a ≤ 0.
    """

    values: Mapping[str, Tensor]
    threshold_E: Tensor
    row_EK: Tensor

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.threshold_E) // 2

    @classmethod
    def of(cls, values: Mapping[str, Tensor], document_M: Tensor, count: int, quantile: float) -> Population:
        """Find thresholds and strongest contexts.

        Args:
            values: activations by role.
            document_M: passage of each training context, so that one passage cannot fill an entry's list.
            count: contexts wanted of each entry.
            quantile: of the entry's own training activations.
        """
        train_Mn = values["train"]
        rows, n = train_Mn.shape
        above = min(rows - 1, round((1 - quantile) * rows))
        wide = min(rows, max(above + 1, SPARE * count))
        row_EK = torch.full((2 * n, count), -1)
        threshold_E = torch.empty(2 * n)
        for part in blocks(n):
            for sign, value_nM in enumerate(signed(train_Mn[:, part])):
                top = value_nM.topk(wide, dim=-1)
                place = slice(sign * n + part.start, sign * n + part.stop)
                kept = torch.where(top.values > 0, top.indices, -1)[:, : SPARE * count]
                row_EK[place] = _one_per_passage(kept, document_M, count)
                threshold_E[place] = top.values[:, above].clamp_min(0)
        return cls(values, threshold_E, row_EK)

    def entries(self, role: str, entry_e: Tensor) -> Tensor:
        """Sign · activation of some entries on one panel, float32 (e, M)."""
        sign_e1 = torch.where(entry_e < self.n, 1.0, -1.0)[:, None]
        return self.values[role][:, entry_e % self.n].T * sign_e1

    def fires(self, role: str, entry_e: Tensor) -> Tensor:
        """Where some entries fire on one panel, bool (e, M)."""
        return self.entries(role, entry_e) > self.threshold_E[entry_e][:, None]

    def rotated(self, seed: int, layer: int, document_M: Tensor, count: int, quantile: float) -> Population:
        """A random orthogonal mix of all columns, as many of them."""
        drawn_nn = torch.randn(self.n, self.n, generator=generator(seed, "rotation", layer))
        mix_nn = torch.linalg.qr(drawn_nn).Q
        values = {role: value_Mn @ mix_nn for role, value_Mn in self.values.items()}
        return Population.of(values, document_M, count, quantile)


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of at most `size` columns."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def signed(value_Mn: Tensor) -> tuple[Tensor, Tensor]:
    """Columns by sign, each contiguous: a and −a, float32 (n, M)."""
    value_nM = value_Mn.T.contiguous()
    return value_nM, -value_nM


def splits(layer: int, n: int) -> Tensor:
    """Which split each neuron of a block is in, by a hash of both: int64 (n,), `TRAINED` (80 %), `A` or `B`."""
    tenth_n = torch.tensor([derive_seed("neuron", layer, neuron) % _TENTHS for neuron in range(n)])
    return torch.where(tenth_n == 0, A, torch.where(tenth_n == 1, B, TRAINED))


def _one_per_passage(row_eW: Tensor, document_M: Tensor, count: int) -> Tensor:
    """The first `count` rows of different passages, in order, −1 behind them; int64 (e, count)."""
    document_eW = document_M[row_eW.clamp_min(0)]
    again_eW = (document_eW[:, :, None] == document_eW[:, None, :]).tril(-1).any(-1)
    keep_eW = ~again_eW & (row_eW >= 0)
    order_eW = (~keep_eW).long().argsort(dim=-1, stable=True)
    kept_eW = torch.where(keep_eW, row_eW, -1).gather(-1, order_eW)[:, :count]
    return torch.nn.functional.pad(kept_eW, (0, count - kept_eW.shape[1]), value=-1)
