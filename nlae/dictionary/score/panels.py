"""What is scored on a panel: which contexts each entry is strongest and active at, and directions that are nulls.

An entry is one sign of one column of activations; arrays over entries have the shape (2, n), "+" first. Everything goes
in blocks of columns, so that memory does not grow with the width of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1024  # columns whose contexts are in memory at once
SIGNS = (1, -1)


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of at most `size` columns."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def signed(value_Mn: Tensor) -> Tensor:
    """Columns as entries: sign · a, float32 (2n, M), all of "+" first."""
    value_nM = value_Mn.T.contiguous()
    return torch.cat([value_nM, -value_nM])


def strongest(train_Mn: Tensor, count: int, quantile: float) -> tuple[Tensor, Tensor, Tensor]:
    """Each entry's strongest training contexts, and the activation above which it is active.

    Args:
        train_Mn: activations on the training panel.
        count: contexts wanted (fewer on a smaller panel).
        quantile: of the entry's own activations; the threshold is never below 0, where its sign would not show.

    Returns:
        Activations float32 and contexts int64, descending, both (2, n, count), −1 as context where sign · a ≤ 0;
        thresholds float32 (2, n).
    """
    m, n = train_Mn.shape
    above = min(m - 1, round((1 - quantile) * m))
    count = min(count, m)
    value_2nK, row_2nK = torch.empty(2, n, count), torch.empty(2, n, count, dtype=torch.long)
    threshold_2n = torch.empty(2, n)
    for part in blocks(n):
        top = signed(train_Mn[:, part]).topk(max(above + 1, count), dim=-1)
        width = part.stop - part.start
        value_2nK[:, part] = top.values[:, :count].view(2, width, count)
        row_2nK[:, part] = top.indices[:, :count].view(2, width, count)
        threshold_2n[:, part] = top.values[:, above].view(2, width).clamp_min(0)
    row_2nK[value_2nK <= 0] = -1
    return value_2nK, row_2nK, threshold_2n


def active(value_Mn: Tensor, threshold_2n: Tensor) -> Tensor:
    """Where each entry is above its threshold, bool (2n, M)."""
    return signed(value_Mn) > threshold_2n.reshape(-1, 1)


def rotation(n: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` orthonormal directions that mix all `n` neurons, float32 (n, count)."""
    drawn = torch.randn(n, min(count, n), generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.float()
