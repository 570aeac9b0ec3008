"""Words of an entry by counting: those far commoner at, before and near its peaks than elsewhere.

The plainly commonest are function words, which stand at the peaks of most entries and describe few.

A phrase has a budget of tokens; words are taken in turn from the three lists until it is spent. Shape suffixes:
E entries, K words of a list, W words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from nlae.dictionary.words.bags import SLOTS, Bags
from nlae.dictionary.words.phrase import Phrase
from nlae.dictionary.words.vocabulary import Vocabulary

# fewest contexts that hold a word, and what is taken off their number: a rare word that stands once is no find
AT, NEARBY = (1, 0.5), (2, 0.0)
TURNS = {"peaks": (0, 3, 6, 8), "before": (2, 7), "near": (1, 4, 5, 9)}  # place of each word in the order of taking


@dataclass(frozen=True)
class Picked:
    """Words of entries by slot.

    Attributes:
        word: slot -> words of each entry, int64 (E, K), −1 where it has fewer.
    """

    word: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.word["peaks"])

    def __getitem__(self, entries: Tensor | slice) -> Picked:
        return Picked({slot: word_EK[entries] for slot, word_EK in self.word.items()})

    def phrase(self, entry: int, vocabulary: Vocabulary) -> Phrase:
        """The words of one entry."""
        return Phrase(*(tuple(vocabulary.words[w] for w in self.word[s][entry].tolist() if w >= 0) for s in SLOTS))

    @property
    def empty_E(self) -> Tensor:
        """Which entries have no words at all."""
        return torch.stack([(word_EK < 0).all(-1) for word_EK in self.word.values()]).all(0)


def leading(bags: Bags, row_EK: Tensor, most: Mapping[str, int]) -> Picked:
    """The leading words of each slot, best first.

    Args:
        bags: of the contexts.
        row_EK: contexts of each entry, −1 where it has fewer.
        most: words wanted of each slot.
    """
    found = {}
    for slot in SLOTS:
        count, rarity_W = bags.counts(row_EK, slot), bags.rarity[slot]
        # by chance a single context holds any word nearby; two that share one say something
        found[slot] = _top(count, most[slot], rarity_W, *(NEARBY if slot == "near" else AT))
    return Picked(found)


def within(picked: Picked, vocabulary: Vocabulary, budget: int) -> Picked:
    """As many of the leading words as a phrase of `budget` tokens holds, taken in turn from the slots."""
    order: list[int] = []
    words, costs = [], []
    for slot, turns in TURNS.items():
        word_EK = picked.word[slot][:, : len(turns)]
        words.append(word_EK)
        order += turns[: word_EK.shape[1]]
        costs.append(torch.where(word_EK >= 0, vocabulary.cost_W[word_EK.clamp_min(0)], 0))
    turn = torch.tensor(order).argsort()
    cost_ET = torch.cat(costs, 1)[:, turn]
    kept_ET = cost_ET.cumsum(1) <= budget - vocabulary.overhead
    kept = torch.empty_like(kept_ET)
    kept[:, turn] = kept_ET
    parts = kept.split([word_EK.shape[1] for word_EK in words], 1)
    return Picked({s: torch.where(k, w, -1) for s, w, k in zip(TURNS, words, parts, strict=True)})


def _top(count: sparse.csr_matrix, most: int, weight_W: np.ndarray, least: int, off: float) -> Tensor:
    """Places of the largest weight · (count − off) of each row, −1 behind them; ties to the lower place."""
    rows = np.repeat(np.arange(count.shape[0]), np.diff(count.indptr))
    column, value = count.indices.astype(np.int64), count.data
    keep = value >= least
    rows, column, value = rows[keep], column[keep], value[keep]
    value = (value - off) * weight_W[column]
    order = np.lexsort((column, -value, rows))
    rows, column = rows[order], column[order]
    start = np.searchsorted(rows, np.arange(count.shape[0]))
    rank = np.arange(len(rows)) - start[rows]
    out = np.full((count.shape[0], most), -1, dtype=np.int64)
    first = rank < most
    out[rows[first], rank[first]] = column[first]
    return torch.from_numpy(out)


def as_words(ids_Ek: Tensor, vocabulary: Vocabulary) -> Picked:
    """Tokens as words fired on; those that the corpus does not have are left out."""
    table = torch.from_numpy(vocabulary.word_V)
    word_Ek = table[ids_Ek.clamp_max(len(table) - 1)] if ids_Ek.shape[1] else torch.full((len(ids_Ek), 1), -1)
    none = torch.full((len(ids_Ek), 1), -1)
    return Picked({"peaks": word_Ek, "before": none, "near": none})
