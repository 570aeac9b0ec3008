"""As many random tokens taken out as taking the quotes out takes: the control beside a text without its quotes.

A token is a word or a single mark. Whatever is lost here is lost to length; what quotes lose beyond it was quoted.
"""

from __future__ import annotations

import re

import numpy as np

from nlae.rewording.base import PerText
from nlae.rewording.no_quotes import QUOTES, without_quotes

_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def fewer_tokens(text: str, seed: int) -> str:
    """`text` without random tokens, as many as `without_quotes` takes."""
    found = list(_TOKEN.finditer(text))
    count = len(found) - len(_TOKEN.findall(without_quotes(text)))
    gone = np.random.default_rng(seed).permutation(len(found))[:count]
    kept = list(text)
    for place in gone:
        for letter in range(*found[place].span()):
            kept[letter] = ""
    return " ".join("".join(kept).split())


class FewerTokens(PerText):
    """Texts that quote, shortened as `NoQuotes` shortens them, but anywhere."""

    def applies(self, text: str) -> bool:
        """See `PerText`."""
        return QUOTES.search(text) is not None

    def one(self, text: str, seed: int) -> str:
        """See `PerText`."""
        return fewer_tokens(text, seed)
