"""Which words stand at, before and near each context, and how often in the contexts of an entry.

Counting is one product of sparse matrices, so that its cost grows with contexts and not with entries × vocabulary.
Shape suffixes: E entries, K contexts of an entry, M contexts, W words.
"""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.scan.folder import Ints, Panel
from nlae.dictionary.words.vocabulary import Vocabulary

COMMON = 0.1
SLOTS = ("peaks", "before", "near")


class Bags:
    """Words of a panel's contexts.

    Args:
        corpus: its passages.
        panel: of training works.
        vocabulary: words.
        window: tokens before a context that count as near.

    Attributes:
        matrices: by slot, which context holds which word, (M, W).
        rarity: by slot, logarithm of all contexts over those that hold a word, float32 (W,).
    """

    def __init__(self, corpus: Corpus, panel: Panel, vocabulary: Vocabulary, window: int) -> None:
        rows, whole_W = len(panel), vocabulary.whole_W
        before_M = np.full(rows, -1, dtype=np.int64)
        near: list[Ints] = []
        for document in np.unique(panel.document):
            words = vocabulary.word_V[corpus.token_ids(int(document))]
            first, after = np.searchsorted(panel.document, [document, document + 1])
            for row in range(first, after):
                position = int(panel.position[row])
                before_M[row] = words[position - 1] if position else -1
                around = np.unique(words[max(0, position - window) : position])
                around = around[around >= 0]
                near.append(around[whole_W[around]])
        size = (rows, len(vocabulary))
        self.matrices = {
            "peaks": _one_each(vocabulary.word_V[panel.token_id], size),
            "before": _one_each(before_M, size),
            "near": _matrix(np.repeat(np.arange(rows), [len(words) for words in near]), np.concatenate(near), size),
        }
        held = {slot: np.asarray(matrix.sum(0)).ravel() for slot, matrix in self.matrices.items()}
        # what stands near a tenth of all contexts describes none of them
        kept = sparse.diags_array((held["near"] <= COMMON * rows).astype(np.float32))
        self.matrices["near"] = sparse.csr_matrix(self.matrices["near"] @ kept)
        self.matrices["near"].eliminate_zeros()
        self.rarity = {slot: np.log((rows + 1) / (held_W + 1)).astype(np.float32) for slot, held_W in held.items()}

    def counts(self, row_EK: Tensor, slot: str) -> sparse.csr_matrix:
        """How many of each entry's contexts hold each word, (E, W); contexts of −1 count for nothing."""
        entry, place = torch.nonzero(row_EK >= 0, as_tuple=True)
        size = (len(row_EK), self.matrices[slot].shape[0])
        return sparse.csr_matrix(_matrix(entry.numpy(), row_EK[entry, place].numpy(), size) @ self.matrices[slot])


def _one_each(word_M: Ints, size: tuple[int, int]) -> sparse.csr_matrix:
    """One word of each context; none where it is −1."""
    known = np.flatnonzero(word_M >= 0)
    return _matrix(known, word_M[known], size)


def _matrix(rows: Ints, columns: Ints, size: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=size)
