"""The words of a text in random order: what is said by order alone is lost, and with it a code that lives in it."""

from __future__ import annotations

import numpy as np

from nlae.rewording.base import PerText


def shuffled_words(text: str, seed: int) -> str:
    """The words of `text` in an order drawn by `seed`, one blank between them."""
    words = text.split()
    return " ".join(words[place] for place in np.random.default_rng(seed).permutation(len(words)))


class WordShuffle(PerText):
    """All words, in an order drawn for each text."""

    def one(self, text: str, seed: int) -> str:
        """See `PerText`."""
        return shuffled_words(text, seed)
