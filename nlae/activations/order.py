"""Which rows and which sites an update is about: pure functions of (seed, stage, update)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nlae.activations import ActivationRows

Ints = npt.NDArray[np.int64]


def batch_rows(n_rows: int, *, seed: int, stage: str, update: int, batch_size: int) -> Ints:
    """Indices int64[batch_size] of one update: epochs are permutations of all rows, cut into consecutive batches.

    A batch may straddle two epochs, so every row is seen equally often and all batches are full.
    """
    if n_rows < 1 or batch_size < 1 or update < 0:
        raise ValueError(f"need rows, a batch size and an update ≥ 0, got {n_rows}, {batch_size}, {update}")
    places = np.arange(update * batch_size, (update + 1) * batch_size)
    epochs = places // n_rows
    parts = [
        permutation(n_rows, seed, stage, int(epoch))[places[epochs == epoch] % n_rows] for epoch in np.unique(epochs)
    ]
    return np.concatenate(parts)


def draw_sites(names: Sequence[str], count: int, *, seed: int, stage: str, update: int) -> list[str]:
    """Sites of one update in the given order: `count` of them (fewer where two rounds meet in one update)."""
    drawn = batch_rows(len(names), seed=seed, stage=f"{stage}/sites", update=update, batch_size=min(count, len(names)))
    return [names[i] for i in np.unique(drawn)]


def split_documents(rows: ActivationRows, seed: int) -> tuple[ActivationRows, ActivationRows]:
    """Two views of about equal size that share no document."""
    documents = np.unique(rows.document)
    first = documents[permutation(len(documents), seed, "disjoint", 0)[: -(-len(documents) // 2)]]
    chosen = np.isin(rows.document, first)
    return rows.select(chosen), rows.select(~chosen)


@lru_cache(maxsize=8)
def permutation(n: int, seed: int, stage: str, epoch: int) -> Ints:
    """The order of n things in one epoch."""
    key = int.from_bytes(hashlib.sha256(stage.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, key, epoch]).permutation(n)
