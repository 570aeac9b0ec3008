"""The reader `bag`: a ridge regression from the token embeddings of a description to the vector of what it describes.

A description is three sums of embeddings: of what is fired on, of what stands before, and of words nearby, each with a
weight. Fitted on entries of trained neurons alone; readings have their mean over these taken off, so that what all
descriptions have in common says nothing. Shape suffixes: E entries, K words of a list, F features, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nlae.dictionary.words.phrase import parse
from nlae.dictionary.words.picking import SLOTS, Picked
from nlae.dictionary.words.vocabulary import Vocabulary


def features(picked: Picked, vocabulary: Vocabulary) -> Tensor:
    """Sums of embeddings by slot, one behind the other, float32 (E, F)."""
    padded_WD = F.pad(vocabulary.embedding_WD, (0, 0, 0, 1))  # −1 is the row of zeros behind all words
    words = (torch.where(picked.word[slot] >= 0, picked.word[slot], len(vocabulary)) for slot in SLOTS)
    return torch.cat([F.embedding_bag(word_EK, padded_WD, mode="sum") for word_EK in words], 1)


def text_features(texts: Sequence[str], vocabulary: Vocabulary) -> Tensor:
    """As `features`, of any texts: what is shown is what is read; several phrases in one text are added up."""
    feature_EF = torch.zeros(len(texts), len(SLOTS) * vocabulary.width)
    for row_F, text in zip(feature_EF, texts, strict=True):
        for phrase in parse(text):
            row_F += torch.cat([vocabulary.embed(words) for words in phrase])
    return feature_EF


@dataclass(frozen=True)
class Bag:
    """A fitted reader.

    Attributes:
        map_FD: features to vectors, the weights of the slots included, float32.
        mean_D: mean answer over the descriptions it was fitted on.
    """

    map_FD: Tensor
    mean_D: Tensor

    def read(self, feature_EF: Tensor) -> Tensor:
        """Readings without their mean, float32 (E, D)."""
        return feature_EF @ self.map_FD - self.mean_D

    def words(self, slot: str, vocabulary: Vocabulary) -> Tensor:
        """What each word adds to a reading when it stands in a slot, float32 (W, D)."""
        place, width = SLOTS.index(slot), vocabulary.width
        return vocabulary.embedding_WD @ self.map_FD[place * width : (place + 1) * width]


class Ridge:
    """Fits readers of several penalties and weights to descriptions, for each set of unit vectors, float32 (E, D)."""

    def __init__(self, feature_EF: Tensor, *vectors: Tensor) -> None:
        self._mean_F = feature_EF.mean(0)
        centred_EF = feature_EF - self._mean_F
        self._gram_FF = centred_EF.T @ centred_EF
        self._right_FD = centred_EF.T @ torch.cat([vector_ED - vector_ED.mean(0) for vector_ED in vectors], 1)
        self._many = len(vectors)

    def fit(self, weights: Sequence[float], penalty: float) -> list[Bag]:
        """The reader of each set of vectors, with the weight of each slot and the penalty λ."""
        weight_F = torch.tensor(weights).repeat_interleave(len(self._mean_F) // len(SLOTS))
        damped_FF = self._gram_FF * weight_F * weight_F[:, None]
        damped_FF.diagonal().add_(penalty)
        solved_FD = torch.cholesky_solve(self._right_FD * weight_F[:, None], torch.linalg.cholesky(damped_FF))
        maps = (solved_FD * weight_F[:, None]).chunk(self._many, 1)
        return [Bag(map_FD, self._mean_F @ map_FD) for map_FD in maps]
