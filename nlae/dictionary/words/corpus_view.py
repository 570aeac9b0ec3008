"""The corpus as the dictionary looks at it: tokens as text, at a place and in passages, and how often each occurs."""

from collections.abc import Iterable
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nlae.corpus import Corpus
from nlae.dictionary.entries import Context


class CorpusView:
    """Tokens and words of a corpus: `word` is a token as text, spaces kept, `ids` are the tokens of a passage."""

    def __init__(self, corpus: Corpus, tokenizer: Any) -> None:
        self.corpus = corpus
        self.word = cache(lambda token: str(tokenizer.decode([token], clean_up_tokenization_spaces=False)))
        self.ids = cache(corpus.input_ids)

    @cached_property
    def token_counts(self) -> npt.NDArray[np.int64]:
        """Occurrences of every token id, int64 [largest id + 1]."""
        ids = np.concatenate([chunk.flatten().to_numpy() for chunk in self.corpus.documents["input_ids"].chunks])
        return np.bincount(ids.astype(np.int64)).astype(np.int64)

    def contexts(self, documents: Iterable[int]) -> list[Context]:
        """Passages with their tokens as text."""
        source, word = self.corpus.source, self.word
        return [Context(document, source[document], [word(t) for t in self.ids(document)]) for document in documents]
