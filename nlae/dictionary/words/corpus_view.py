"""The corpus as the dictionary looks at it: tokens at a place, windows of words, counts and frequencies."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.entries import Context
from nlae.teacher.words import DocumentFrequencies

Ints = npt.NDArray[np.int64]


class CorpusView:
    """Tokens and words of a corpus.

    Args:
        corpus: its passages.
        tokenizer: of the target.
    """

    def __init__(self, corpus: Corpus, tokenizer: Any) -> None:
        self.corpus, self._tokenizer = corpus, tokenizer
        self._word: dict[int, str] = {}
        self._ids: dict[int, list[int]] = {}

    @cached_property
    def token_counts(self) -> Ints:
        """Occurrences of every token id, int64 [largest id + 1]."""
        ids = np.concatenate([chunk.flatten().to_numpy() for chunk in self.corpus.documents["input_ids"].chunks])
        counts: Ints = np.bincount(ids.astype(np.int64)).astype(np.int64)
        return counts

    @cached_property
    def frequencies(self) -> DocumentFrequencies:
        """In how many training passages each word occurs."""
        train = [i for i, split in enumerate(self.corpus.split) if split == "train"]
        return DocumentFrequencies.fit(self.corpus.text(i) for i in train)

    def word(self, token: int) -> str:
        """A token as text, spaces kept."""
        if token not in self._word:
            self._word[token] = str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False))
        return self._word[token]

    def ids(self, document: int) -> list[int]:
        """Tokens of a passage."""
        if document not in self._ids:
            self._ids[document] = self.corpus.input_ids(document)
        return self._ids[document]

    def window(self, document: int, position: int, length: int) -> list[str]:
        """The last `length` tokens up to and including a position, special ones left out."""
        ids = self.ids(document)[max(0, position + 1 - length) : position + 1]
        special = set(self._tokenizer.all_special_ids)
        return [self.word(token) for token in ids if token not in special]

    def tokens_at(self, document: Tensor, position: Tensor) -> Tensor:
        """Token id at each place, int64 of the same shape; −1 where the document is −1."""
        places = zip(document.flatten().tolist(), position.flatten().tolist(), strict=True)
        found = [self.ids(d)[p] if d >= 0 else -1 for d, p in places]
        return torch.tensor(found, dtype=torch.long).view(document.shape)

    def peaks(self, document_2nk: Tensor, position_2nk: Tensor, limit: int) -> list[list[list[str]]]:
        """Different tokens at each entry's exemplars, strongest first, per sign and neuron."""
        ids_2nk = self.tokens_at(document_2nk, position_2nk).tolist()
        return [[[self.word(t) for t in dict.fromkeys(ids) if t >= 0][:limit] for ids in side] for side in ids_2nk]

    def contexts(self, documents: Iterable[int]) -> list[Context]:
        """Passages with their tokens as text."""
        return [
            Context(document, self.corpus.source[document], [self.word(token) for token in self.ids(document)])
            for document in documents
        ]
