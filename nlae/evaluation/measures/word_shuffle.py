"""What is left of an explanation without the order of its words.

What is said by order alone is lost, and with it a code that lives in it. Paraphrases and translations need a model that
writes, and are left out.
"""

from __future__ import annotations

import numpy as np

from nlae.evaluation.record import EvaluationRecord
from nlae.functional.randomness import derive_seed


def shuffled_words(text: str, seed: int) -> str:
    """The words of `text` in an order drawn by `seed`, one blank between them."""
    words = text.split()
    return " ".join(words[place] for place in np.random.default_rng(seed).permutation(len(words)))


class WordShuffle:
    """`control/word_shuffle`: the same explanation read with its words in random order."""

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        mixed = [
            shuffled_words(text, derive_seed(record.sample_seed, "word_shuffle", int(row)))
            for text, row in zip(record.texts, record.rows.row, strict=True)
        ]
        record.put_control("word_shuffle", record.board.error(record.read(mixed, "words shuffled")))
