"""Columns of one block that go through everything alike: its neurons, or a random rotation of them, which is the null.

An *entry* is one sign of one column; arrays over entries have all of "+" first, then all of "−" (E = 2n). An entry
fires above a high quantile of its own activations on training works, and never at or below 0, where its sign would not
show. Everything goes in blocks of columns, so that memory does not grow with the width of the block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nlae.functional.randomness import derive_seed, generator

BLOCK = 512  # columns or entries that are looked at at once
SPARE = 4  # contexts looked at for each one that is kept, as some share a passage
TRAINED, A, B = 0, 1, 2
_TENTHS = 10


@dataclass(frozen=True)
class Population:
    """Activations of n columns on all panels, where each entry fires, and where it is strongest.

    Attributes:
        values: role -> float32 (n, M); of a rotation what is rotated.
        threshold_E: an entry fires above it.
        row_EK: its strongest training contexts, one per passage, int64, −1 where sign · a ≤ 0.
        mix_nn: of a rotation, one column each; its activations are worked out where they are asked for.
    """

    values: Mapping[str, Tensor]
    threshold_E: Tensor
    row_EK: Tensor
    mix_nn: Tensor | None = None

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.threshold_E) // 2

    @classmethod
    def of(
        cls, values: Mapping[str, Tensor], document_M: Tensor, count: int, quantile: float, mix_nn: Tensor | None = None
    ) -> Population:
        """Find the threshold of each entry, a quantile of its own training activations, and its strongest contexts.

        Of these `count` are wanted, no two of one passage (`document_M`); `mix_nn` is a `rotation`, for the null.
        """
        n, rows = values["train"].shape
        above = min(rows - 1, round((1 - quantile) * rows))
        wide = min(rows, max(above + 1, SPARE * count))
        found = cls(values, torch.empty(2 * n), torch.full((2 * n, count), -1), mix_nn)
        for column_e in torch.arange(n).split(BLOCK):
            value_eM = found.columns("train", column_e)
            for entry_e, side_eM in ((column_e, value_eM), (column_e + n, -value_eM)):
                top = side_eM.topk(wide, dim=-1)
                kept = torch.where(top.values > 0, top.indices, -1)[:, : SPARE * count]
                found.row_EK[entry_e] = _one_per_passage(kept, document_M, count)
                found.threshold_E[entry_e] = top.values[:, above].clamp_min(0)
        return found

    def columns(self, role: str, column_e: Tensor) -> Tensor:
        """Activations of some columns on one panel, float32 (e, M)."""
        value_nM = self.values[role]
        return value_nM[column_e] if self.mix_nn is None else self.mix_nn[:, column_e].T @ value_nM

    def entries(self, role: str, entry_e: Tensor) -> Tensor:
        """Sign · activation of some entries on one panel, float32 (e, M)."""
        sign_e1 = torch.where(entry_e < self.n, 1.0, -1.0)[:, None]
        return self.columns(role, entry_e % self.n).mul_(sign_e1)

    def fires(self, role: str, entry_e: Tensor) -> Tensor:
        """Where some entries fire on one panel, bool (e, M)."""
        return self.entries(role, entry_e) > self.threshold_E[entry_e][:, None]


def rotation(n: int, seed: int, layer: int) -> Tensor:
    """A random orthogonal mix of n columns, float32 (n, n)."""
    return torch.linalg.qr(torch.randn(n, n, generator=generator(seed, "rotation", layer))).Q


def splits(layer: int, n: int) -> Tensor:
    """Which split each neuron of a block is in, by a hash of both: int64 (n,), `TRAINED` (80 %), `A` or `B`."""
    tenth_n = torch.tensor([derive_seed("neuron", layer, neuron) % _TENTHS for neuron in range(n)])
    return torch.where(tenth_n == 0, A, torch.where(tenth_n == 1, B, TRAINED))


def _one_per_passage(row_eW: Tensor, document_M: Tensor, count: int) -> Tensor:
    """The first `count` rows of different passages, in order, −1 behind them; int64 (e, count)."""
    document_eW = document_M[row_eW.clamp_min(0)]
    again_eW = (document_eW[:, :, None] == document_eW[:, None, :]).tril(-1).any(-1)
    kept_eW = packed(torch.where(again_eW, -1, row_eW))[:, :count]
    return torch.nn.functional.pad(kept_eW, (0, count - kept_eW.shape[1]), value=-1)


def packed(value_EK: Tensor) -> Tensor:
    """What is not −1 of each row moved to its front, in order."""
    return value_EK.gather(-1, (value_EK < 0).long().argsort(dim=-1, stable=True))
