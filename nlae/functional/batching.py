"""Rows of unequal length in batches of about equal cost.

Packing several rows into one is left out: it needs attention kernels that not every machine has, and after sorting by
length there is little padding to save.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of rows, longest first, in batches of at most `budget` tokens, padding counted.

    Every row is in exactly one batch; one that exceeds the budget alone makes a batch of its own. Ties keep their
    order, so that the batches are a function of the lengths.

    Args:
        lengths: tokens of each row.
        budget: rows × longest row, per batch.
    """
    batch: list[int] = []
    widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * widest > budget:
            yield batch
            batch = []
        if not batch:
            widest = int(lengths[index])
        batch.append(index)
    if batch:
        yield batch
