"""Which words stand at, before and near each context, and how often in the contexts of an entry.

Counting is one product of sparse matrices, so that its cost grows with contexts and not with entries × vocabulary.
Shape suffixes: E entries, K contexts of an entry, M contexts, W words.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.scan.folder import Panel
from nlae.dictionary.words.vocabulary import Vocabulary

COMMON = 0.1
SLOTS = ("peaks", "before", "near")
Ints = npt.NDArray[np.int64]


class Bags:
    """Words of a panel's contexts.

    Args:
        corpus: its passages.
        panel: of training works.
        vocabulary: words.
        window: tokens before a context that count as near.
    """

    def __init__(self, corpus: Corpus, panel: Panel, vocabulary: Vocabulary, window: int) -> None:
        rows = len(panel)
        word_V = vocabulary.word_V
        last_M = word_V[panel.token_id]
        before_M = np.full(rows, -1, dtype=np.int64)
        places: list[Ints] = []
        near: list[Ints] = []
        whole_W = vocabulary.whole_W
        documents, starts = np.unique(panel.document, return_index=True)
        for document, first, after in zip(documents, starts, [*starts[1:], rows], strict=True):
            words = word_V[np.asarray(corpus.input_ids(int(document)), dtype=np.int64)]
            for row in range(first, after):
                position = int(panel.position[row])
                before_M[row] = words[position - 1] if position else -1
                around = words[max(0, position - window) : position]
                around = np.unique(around[around >= 0])
                around = around[whole_W[around]]
                near.append(around)
                places.append(np.full(len(around), row, dtype=np.int64))
        size = (rows, len(vocabulary))
        self.matrices = {
            "peaks": _matrix(np.arange(rows)[last_M >= 0], last_M[last_M >= 0], size),
            "before": _matrix(np.arange(rows)[before_M >= 0], before_M[before_M >= 0], size),
            "near": _matrix(np.concatenate(places), np.concatenate(near), size),
        }
        common = {slot: np.asarray(matrix.sum(0)).ravel() for slot, matrix in self.matrices.items()}
        # what stands near a tenth of all contexts describes none of them
        kept = sparse.diags_array((common["near"] <= COMMON * rows).astype(np.float32))
        self.matrices["near"] = sparse.csr_matrix(self.matrices["near"] @ kept)
        self.matrices["near"].eliminate_zeros()
        # by slot: logarithm of all contexts over those that hold a word
        self.rarity = {slot: np.log((rows + 1) / (held_W + 1)).astype(np.float32) for slot, held_W in common.items()}

    def counts(self, row_EK: Tensor, slot: str) -> sparse.csr_matrix:
        """How many of each entry's contexts hold each word, (E, W); contexts of −1 count for nothing."""
        entry, place = torch.nonzero(row_EK >= 0, as_tuple=True)
        rows = row_EK[entry, place].numpy()
        chosen = _matrix(entry.numpy(), rows, (len(row_EK), self.matrices[slot].shape[0]))
        return sparse.csr_matrix(chosen @ self.matrices[slot])


def _matrix(rows: Ints, columns: Ints, size: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=size)
