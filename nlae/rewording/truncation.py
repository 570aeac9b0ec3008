"""The first words of a text: how early an explanation says what it says.

Cut at random lengths in training, this makes a verbalizer say the most telling thing first.
"""

from __future__ import annotations

import math
import re

import numpy as np

from nlae.errors import NlaeError
from nlae.rewording.base import PerText

_WORD = re.compile(r"\S+")


def first_words(text: str, count: int) -> str:
    """`text` up to the end of its first `count` words, white space as it was."""
    ends = [match.end() for match in _WORD.finditer(text)]
    return text[: ends[min(count, len(ends)) - 1]] if ends and count > 0 else ""


class Truncation(PerText):
    """The beginning of every text that is longer.

    Args:
        share: of its words, rounded up.
        words: as many words, whatever the length; exactly one of the two is given.
    """

    def __init__(self, share: float | None = None, words: int | None = None) -> None:
        if (share is None) == (words is None):
            raise NlaeError(f"a truncation needs either share or words, not share={share} words={words}")
        if share is not None and not 0 < share < 1:
            raise NlaeError(f"a truncation's share={share} must be above 0 and below 1")
        if words is not None and words < 1:
            raise NlaeError(f"a truncation's words={words} must be at least 1")
        self.share, self.words = share, words

    def applies(self, text: str) -> bool:
        """See `PerText`."""
        return self._count(text) < len(text.split())

    def one(self, text: str, seed: int) -> str:
        """See `PerText`."""
        return first_words(text, self._count(text))

    def _count(self, text: str) -> int:
        if self.words is not None:
            return self.words
        assert self.share is not None
        return math.ceil(self.share * len(text.split()))


class RandomTruncation(PerText):
    """The first n words, n drawn uniformly: texts with one seed are cut at one length.

    Args:
        shortest: words at least.
        longest: words at most; a shorter text stays whole.
    """

    def __init__(self, shortest: int = 4, longest: int = 60) -> None:
        if not 1 <= shortest <= longest:
            raise NlaeError(f"a truncation between shortest={shortest} and longest={longest} words cannot be")
        self.shortest, self.longest = shortest, longest

    def one(self, text: str, seed: int) -> str:
        """See `PerText`."""
        return first_words(text, int(np.random.default_rng(seed).integers(self.shortest, self.longest + 1)))
