"""The sentences of a text in another order: each keeps its own words, and only what joins them is lost."""

from __future__ import annotations

import re

import numpy as np

from nlae.rewording.base import PerText

_ENDS = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\s*\n\s*|;\s+")


def sentences(text: str) -> list[str]:
    """The sentences, lines and clauses between semicolons of `text`, with the marks that end them."""
    parts, start = [], 0
    for end in _ENDS.finditer(text):
        parts.append(text[start : end.end()])
        start = end.end()
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def shuffled_sentences(text: str, seed: int) -> str:
    """The sentences of `text` in an order drawn by `seed` that is not their own, one blank between them."""
    found = sentences(text)
    order = np.random.default_rng(seed).permutation(len(found))
    if (order == np.arange(len(found))).all():
        order = np.roll(order, 1)
    return " ".join(found[place] for place in order)


class SentenceShuffle(PerText):
    """Texts of at least two sentences."""

    def applies(self, text: str) -> bool:
        """See `PerText`."""
        return len(sentences(text)) > 1

    def one(self, text: str, seed: int) -> str:
        """See `PerText`."""
        return shuffled_sentences(text, seed)
