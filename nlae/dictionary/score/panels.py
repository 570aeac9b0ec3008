"""What is scored on a panel: which contexts each entry is strongest and active at, and directions that are nulls.

An entry is one sign of one column of activations; arrays over entries have the shape (2, n), "+" first. Everything goes
in blocks of columns, so that memory does not grow with the width of the layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1024  # columns whose contexts are in memory at once
SIGNS = (1, -1)
SPARE = 4  # contexts looked at for each one that is kept, as some share a passage


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of at most `size` columns."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def signed(value_Mn: Tensor) -> Tensor:
    """Columns as entries: sign · a, float32 (2n, M), all of "+" first."""
    value_nM = value_Mn.T.contiguous()
    return torch.cat([value_nM, -value_nM])


def strongest(train_Mn: Tensor, document_M: Tensor, count: int, quantile: float) -> tuple[Tensor, Tensor]:
    """Each entry's strongest training contexts, one per passage, and the activation above which it is active.

    Args:
        train_Mn: activations on the training panel.
        document_M: passage of each context, so that one passage cannot fill an entry's list.
        count: contexts wanted (fewer on a smaller panel).
        quantile: of the entry's own activations; the threshold is never below 0, where its sign would not show.

    Returns:
        Contexts int64 (2, n, count), strongest first, −1 where there are no more with sign · a > 0; thresholds float32
        (2, n).
    """
    m, n = train_Mn.shape
    above = min(m - 1, round((1 - quantile) * m))
    wide = min(m, max(above + 1, SPARE * count))
    row_2nK = torch.empty(2, n, count, dtype=torch.long)
    threshold_2n = torch.empty(2, n)
    for part in blocks(n):
        top = signed(train_Mn[:, part]).topk(wide, dim=-1)
        width = part.stop - part.start
        row_eW = torch.where(top.values > 0, top.indices, -1)[:, : SPARE * count]
        row_2nK[:, part] = _one_per_passage(row_eW, document_M, count).view(2, width, count)
        threshold_2n[:, part] = top.values[:, above].view(2, width).clamp_min(0)
    return row_2nK, threshold_2n


def _one_per_passage(row_eW: Tensor, document_M: Tensor, count: int) -> Tensor:
    """The first `count` rows of different passages, in order, −1 behind them; int64 (e, count)."""
    out = torch.full((len(row_eW), count), -1)
    for start in range(0, len(row_eW), BLOCK):
        row_bW = row_eW[start : start + BLOCK]
        document_bW = document_M[row_bW.clamp_min(0)]
        earlier_bWW = (document_bW[:, :, None] == document_bW[:, None, :]).tril(-1)
        keep_bW = ~earlier_bWW.any(-1) & (row_bW >= 0)
        order_bW = (~keep_bW).long().argsort(dim=-1, stable=True)
        kept_bW = torch.where(keep_bW, row_bW, -1).gather(-1, order_bW)[:, :count]
        out[start : start + BLOCK, : kept_bW.shape[1]] = kept_bW
    return out


@dataclasses.dataclass(frozen=True)
class Labels:
    """Where entries are active on one panel.

    Attributes:
        value_Mn: activations.
        threshold_2n: an entry is active above it.
        passage_M: passage of each context, counted from 0.
        min_passages: entries active in fewer passages count as never active, so that no score rests on a text or two.
    """

    value_Mn: Tensor
    threshold_2n: Tensor
    passage_M: Tensor
    min_passages: int

    @classmethod
    def of(cls, value_Mn: Tensor, threshold_2n: Tensor, document_M: Tensor, min_passages: int) -> Labels:
        """As the attributes, with passages by any number."""
        return cls(value_Mn, threshold_2n, document_M.unique(return_inverse=True)[1], min_passages)

    @property
    def n(self) -> int:
        """Number of columns."""
        return self.value_Mn.shape[1]

    def active(self, part: slice) -> Tensor:
        """Of some columns, bool (2 · columns, M), all of "+" first."""
        label_eM = signed(self.value_Mn[:, part]) > self.threshold_2n[:, part].reshape(-1, 1)
        passages = int(self.passage_M.max()) + 1
        count_eP = torch.zeros(len(label_eM), passages).index_add_(1, self.passage_M, label_eM.float())
        return label_eM & ((count_eP > 0).sum(-1, keepdim=True) >= self.min_passages)


def rotation(n: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` orthonormal directions that mix all `n` neurons, float32 (n, count)."""
    drawn = torch.randn(n, min(count, n), generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.float()
