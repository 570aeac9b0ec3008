"""A text without what it quotes: what is left of an explanation that copies when the copies are taken out."""

from __future__ import annotations

import re

from nlae.rewording.base import PerText

# a quote that the length limit has cut runs to the end; an apostrophe inside a word closes none
QUOTES = re.compile(
    r"“[^”]*(?:”|$)|\"[^\"]*(?:\"|$)|«[^»]*(?:»|$)|(?<!\w)‘.*?’(?!\w)|(?<!\w)'.*?'(?!\w)|`[^`]*`", re.DOTALL
)


def without_quotes(text: str) -> str:
    """`text` without what stands in quotation marks, and without the marks."""
    return " ".join(QUOTES.sub(" ", text).split())


class NoQuotes(PerText):
    """Texts that quote, without their quotes."""

    def applies(self, text: str) -> bool:
        """See `PerText`."""
        return QUOTES.search(text) is not None

    def one(self, text: str, seed: int) -> str:
        """See `PerText`."""
        return without_quotes(text)
