"""Content words replaced by synonyms: the words change, what they say hardly does.

Names, numbers and function words stay, and so does whatever has no synonym. Texts of which too few words were replaced
all in all would count as kept without having been reworded, so they are then left out altogether, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nlae.errors import NlaeError
from nlae.rewording.base import Reworded
from nlae.rewording.entity_swap import entities
from nlae.rewording.thesaurus import Thesaurus
from nlae.teacher.words import WORD, is_key, same_word

_AMONG = 3  # of a sense's words, the commonest


def with_synonyms(text: str, thesaurus: Thesaurus, seed: int) -> tuple[str, int, int]:
    """`text` with every content word replaced that has a synonym, equal words alike; words replaced, content words."""
    rng = np.random.default_rng(seed)
    names = {place for kind, start, end in entities(text) if kind == "name" for place in range(start, end)}
    instead: dict[str, str | None] = {}
    parts, at, replaced, content = [], 0, 0, 0
    for match in WORD.finditer(text):
        word = match.group()
        if not is_key(word):
            continue
        content += 1
        if match.start() in names:
            continue
        low = word.lower()
        if low not in instead:
            found = [other for other in thesaurus.synonyms(low) if not same_word(low, other)][:_AMONG]
            instead[low] = found[int(rng.integers(len(found)))] if found else None
        other = instead[low]
        if other is not None:
            parts += [text[at : match.start()], _as_written(other, word)]
            at, replaced = match.end(), replaced + 1
    return _articles("".join([*parts, text[at:]])), replaced, content


def _as_written(other: str, word: str) -> str:
    if word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other


def _articles(text: str) -> str:
    """`text` with `a` and `an` as the next word's first letter wants them."""

    def right(match: re.Match[str]) -> str:
        vowel = match[2][0].lower() in "aeiou" and not match[2].lower().startswith(("uni", "one", "eu", "us"))
        return match[1] + ("n" if vowel else "") + " " + match[2]

    return re.sub(r"\b([Aa])n? ([A-Za-z]+)", right, text)


class Synonyms:
    """Texts in which a word has a synonym, with those in their place; `replaced` is the share of content words.

    Args:
        least: with a smaller share over all texts there is no figure.
    """

    headline = True

    def __init__(self, least: float = 0.3) -> None:
        if not 0 <= least <= 1:
            raise NlaeError(f"a rewording by synonyms: least={least} must be between 0 and 1")
        self.least = least
        self._thesaurus = Thesaurus()

    def __call__(self, texts: Sequence[str], seeds: Sequence[int], folder: Path) -> Reworded:
        """See `Rewording`."""
        made = [with_synonyms(text, self._thesaurus, seed) for text, seed in zip(texts, seeds, strict=True)]
        share = sum(replaced for _, replaced, _ in made) / max(sum(content for *_, content in made), 1)
        if share < self.least:
            note = f"{share:.0%} of the content words have a synonym, fewer than {self.least:.0%}: no figure"
            return Reworded([None] * len(texts), {"replaced": share}, note)
        return Reworded([text if replaced else None for text, replaced, _ in made], {"replaced": share})
