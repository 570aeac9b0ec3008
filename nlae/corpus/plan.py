"""In which order a corpus is read for its activations, and where a shard ends.

A function of the rows and the wanted size of a shard alone: neither model nor site nor budget of tokens plays a part,
so that a run that was killed goes on with the same shards.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nlae.corpus.corpus import Corpus
from nlae.functional.batching import token_batches

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which passages each shard holds, longest first: padding is small, and memory runs out at once or never.

    Attributes:
        shards: document numbers per shard, int64 each.
        length: int64[documents], tokens to run of each document; 0 for those without rows.
        digest: identifies rows, order and shards.
    """

    shards: tuple[Ints, ...]
    length: Ints
    digest: str

    def batches(self, shard: int, batch_tokens: int) -> Iterator[list[int]]:
        """Documents of one shard in batches of at most `batch_tokens` tokens, padding counted; one always fits."""
        documents = self.shards[shard]
        for batch in token_batches(self.length[documents].tolist(), batch_tokens):
            yield documents[batch].tolist()


def make_plan(corpus: Corpus, shard_rows: int) -> Plan:
    """Order passages by length, descending, and close a shard once it has `shard_rows` rows."""
    length = np.zeros(len(corpus), dtype=np.int64)
    np.maximum.at(length, corpus.rows.document, corpus.rows.position + 1)
    rows_of = np.bincount(corpus.rows.document, minlength=len(corpus))
    order = np.lexsort((np.arange(len(corpus)), -length))[: np.count_nonzero(length)].astype(np.int64)
    done = np.cumsum(rows_of[order])
    shards: list[Ints] = []
    start = 0
    while start < len(order):
        before = int(done[start - 1]) if start else 0
        stop = min(int(np.searchsorted(done, before + shard_rows)) + 1, len(order))
        shards.append(order[start:stop])
        start = stop
    digest = hashlib.sha256(repr([len(shard) for shard in shards]).encode())
    for column in (order, corpus.rows.document, corpus.rows.position, corpus.rows.token_id):
        digest.update(np.ascontiguousarray(column).data)
    return Plan(tuple(shards), length, digest.hexdigest()[:32])
