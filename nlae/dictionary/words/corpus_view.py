"""The corpus as the dictionary looks at it: tokens as text, at a place and in passages, and how often each occurs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.entries import Context

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

    def peaks(self, document_2nk: Tensor, position_2nk: Tensor, limit: int) -> list[list[str]]:
        """Different tokens at each entry's exemplars, strongest first; all of "+" before all of "−"."""
        places = zip(document_2nk.flatten(0, 1).tolist(), position_2nk.flatten(0, 1).tolist(), strict=True)
        ids_Ek = [[self.ids(d)[p] for d, p in zip(*row, strict=True) if d >= 0] for row in places]
        return [[self.word(token) for token in dict.fromkeys(ids)][:limit] for ids in ids_Ek]

    def contexts(self, documents: Iterable[int]) -> list[Context]:
        """Passages with their tokens as text."""
        return [
            Context(document, self.corpus.source[document], [self.word(token) for token in self.ids(document)])
            for document in documents
        ]
