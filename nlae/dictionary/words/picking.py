"""Words of an entry by counting: those far commoner at, before and near its peaks than elsewhere.

The plainly commonest are function words, which stand at the peaks of most entries and describe few. Counting is one
product of sparse matrices, so that its cost grows with contexts and not with entries × vocabulary. A phrase has a
budget of tokens; words are taken in turn from the three lists until it is spent. Shape suffixes: E entries, K contexts
of an entry or words of a list, M contexts, C words of all lists, W words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.scan.folder import Ints, Panel
from nlae.dictionary.words.phrase import Phrase
from nlae.dictionary.words.vocabulary import Vocabulary

SLOTS = ("peaks", "before", "near")
COMMON = 0.1  # share of contexts near which a word may stand
# fewest contexts that hold a word, and what is taken off their number: a rare word that stands once is no find
AT, NEARBY = (1, 0.5), (2, 0.0)
TURNS = {"peaks": (0, 3, 6, 8), "before": (2, 7), "near": (1, 4, 5, 9)}  # place of each word in the order of taking


class Bags:
    """Words of a panel's contexts; what stands in the `window` tokens before one is near.

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


@dataclass(frozen=True)
class Picked:
    """Words of entries: slot -> words of each entry, int64 (E, K), −1 where it has fewer."""

    word: Mapping[str, Tensor]

    @classmethod
    def fired_on(cls, word_EK: Tensor) -> Picked:
        """Words of one slot alone, the peaks."""
        none_E1 = torch.full((len(word_EK), 1), -1)
        return cls(dict.fromkeys(SLOTS, none_E1) | {"peaks": word_EK})

    @property
    def empty_E(self) -> Tensor:
        """Which entries have no words at all, bool (E,)."""
        return torch.stack([(word_EK < 0).all(-1) for word_EK in self.word.values()]).all(0)

    def phrases(self, vocabulary: Vocabulary) -> list[Phrase]:
        """The words of every entry."""
        said = [
            [tuple(vocabulary.words[w] for w in row if w >= 0) for row in self.word[slot].tolist()] for slot in SLOTS
        ]
        return [Phrase(*words) for words in zip(*said, strict=True)]


def leading(bags: Bags, row_EK: Tensor, most: Mapping[str, int]) -> Picked:
    """The leading words of each slot, best first, at `most` so many; contexts `row_EK` are −1 where there are fewer."""
    found = {}
    for slot, count in most.items():
        # by chance a single context holds any word nearby; two that share one say something
        least, off = NEARBY if slot == "near" else AT
        found[slot] = _top(bags.counts(row_EK, slot), count, bags.rarity[slot], least, off)
    return Picked(found)


def within(picked: Picked, vocabulary: Vocabulary, budget: int) -> Picked:
    """As many of the leading words as a phrase of `budget` tokens holds, taken in turn from the slots."""
    parts = [picked.word[slot][:, : len(turns)] for slot, turns in TURNS.items()]
    sizes = [part_EK.shape[1] for part_EK in parts]
    turn_C = torch.tensor([turn for turns, size in zip(TURNS.values(), sizes, strict=True) for turn in turns[:size]])
    order_C, word_EC = turn_C.argsort(), torch.cat(parts, 1)
    cost_EC = torch.where(word_EC >= 0, vocabulary.cost_W[word_EC.clamp_min(0)], 0)
    kept_EC = torch.empty_like(word_EC, dtype=torch.bool)
    kept_EC[:, order_C] = cost_EC[:, order_C].cumsum(1) <= budget - vocabulary.overhead
    return Picked(dict(zip(TURNS, torch.where(kept_EC, word_EC, -1).split(sizes, 1), strict=True)))


def as_words(ids_Ek: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Tokens as words, int64 (E, K), one column at least; −1 for those that the corpus does not have."""
    table = torch.from_numpy(vocabulary.word_V)
    return table[ids_Ek.clamp_max(len(table) - 1)] if ids_Ek.shape[1] else torch.full((len(ids_Ek), 1), -1)


def _top(count: sparse.csr_matrix, most: int, weight_W: np.ndarray, least: int, off: float) -> Tensor:
    """Places of the largest weight · (count − off) of each row, −1 behind them; ties to the lower place."""
    rows = np.repeat(np.arange(count.shape[0]), np.diff(count.indptr))
    keep = count.data >= least
    rows, column = rows[keep], count.indices.astype(np.int64)[keep]
    value = (count.data[keep] - off) * weight_W[column]
    order = np.lexsort((column, -value, rows))
    rows, column = rows[order], column[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    out = np.full((count.shape[0], most), -1, dtype=np.int64)
    out[rows[rank < most], rank[rank < most]] = column[rank < most]
    return torch.from_numpy(out)


def _one_each(word_M: Ints, size: tuple[int, int]) -> sparse.csr_matrix:
    """One word of each context; none where it is −1."""
    known = np.flatnonzero(word_M >= 0)
    return _matrix(known, word_M[known], size)


def _matrix(rows: Ints, columns: Ints, size: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=size)
