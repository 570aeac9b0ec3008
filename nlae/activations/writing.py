"""How shards come to disk.

Statistics are taken from the finished shards rather than from the passing activations: a run that was killed and
resumed then reads the same numbers as one that was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from nlae.activations.store import STATISTICS_FILE, ActivationStore, Shard, ShardList
from nlae.errors import NlaeError
from nlae.files.arrow import checksum, replacing, write_table
from nlae.functional.scaling import StatisticsAccumulator

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Rows:
    """The columns of one shard, n rows each.

    Attributes:
        row, document, position, token_id: int64[n].
        source, split: the source work and split of each row.
        context_ids: the last tokens up to and including each position.
        activation: raw float32[n, width].
        resid_norm: float32[n], norm of the residual stream after the site's block.
    """

    row: Ints
    document: Ints
    position: Ints
    token_id: Ints
    source: list[str]
    split: list[str]
    context_ids: Sequence[Sequence[int] | Ints]
    activation: Floats
    resid_norm: Floats

    def table(self, dtype: str) -> pa.Table:
        """As an Arrow table with directions in `dtype` (float16 or float32)."""
        norm = np.linalg.norm(self.activation.astype(np.float64), axis=1)
        # an all-zero vector keeps a zero direction instead of a NaN
        direction = self.activation / np.maximum(norm, 1e-30)[:, None]
        width = self.activation.shape[1]
        numbers = pa.array(direction.astype(np.dtype(dtype)).reshape(-1))
        return pa.table(
            {
                "row": pa.array(self.row, pa.int64()),
                "direction": pa.FixedSizeListArray.from_arrays(numbers, width),
                "norm": pa.array(norm.astype(np.float32)),
                "resid_norm": pa.array(self.resid_norm.astype(np.float32)),
                "token_id": pa.array(self.token_id.astype(np.int32)),
                "position": pa.array(self.position.astype(np.int32)),
                "document": pa.array(self.document, pa.int64()),
                "source": pa.array(self.source, pa.string()),
                "split": pa.array(self.split, pa.string()),
                "context_ids": pa.array(self.context_ids, pa.list_(pa.int32())),
            }
        )


def write_shard(folder: Path, name: str, rows: Rows, dtype: str, tokens: int = 0, seconds: float = 0.0) -> Shard:
    """Write one shard whole or not at all, and return its entry for the list.

    Args:
        folder: the store's folder.
        name: file name.
        rows: what to write.
        dtype: float16 or float32, for the directions.
        tokens: tokens that were run to get the rows.
        seconds: time that took.

    Raises:
        NlaeError: the disk is full, or an activation is not finite.
    """
    if not np.isfinite(rows.activation).all():
        bad = int(rows.row[np.flatnonzero(~np.isfinite(rows.activation).all(axis=1))[0]])
        raise NlaeError(
            f"row {bad} has an activation that is not finite: the target overflows; run with target.dtype=float32"
        )
    path = folder / name
    write_table(path, rows.table(dtype))
    return Shard(name, len(rows.row), path.stat().st_size, checksum(path), tokens, seconds)


def fit_statistics(folder: Path, listing: ShardList) -> None:
    """Write `statistics.safetensors` from the training rows at or after the site's first position.

    Raises:
        NlaeError: no such row.
    """
    listing.save(folder)
    rows = ActivationStore.open(folder, verify=False).split("train", early=False).as_they_lie()
    if not len(rows):
        raise NlaeError(
            f"no training position reaches site.min_position={listing.min_position}: the documents are too short; "
            "give longer documents, raise corpus.max_documents or lower site.min_position"
        )
    accumulator = StatisticsAccumulator()
    for indices, activation_BD in rows.batches(4096):
        accumulator.add(activation_BD, torch.from_numpy(rows.resid_norm[indices]))
    statistics = accumulator.finish()
    with replacing(folder / STATISTICS_FILE) as temporary:
        statistics.save(temporary)
