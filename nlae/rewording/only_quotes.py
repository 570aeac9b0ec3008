"""What a text quotes and nothing else: how much of an explanation's worth is copied."""

from __future__ import annotations

from nlae.rewording.base import PerText
from nlae.rewording.no_quotes import QUOTES


def only_quotes(text: str) -> str:
    """The quotes of `text` with their marks, one blank between them; "" where it quotes nothing."""
    return " ".join(" ".join(match.group().split()) for match in QUOTES.finditer(text))


class OnlyQuotes(PerText):
    """Texts that quote, reduced to their quotes."""

    def applies(self, text: str) -> bool:
        """See `PerText`."""
        return QUOTES.search(text) is not None

    def one(self, text: str, seed: int) -> str:
        """See `PerText`."""
        return only_quotes(text)
