"""Copies: runs that one sequence shares with another, and where they lie in a text.

One definition for the measures, the reward and the pages' marks. Items are words or token ids, anything that can be
hashed. Left out on purpose: near copies (other word forms, paraphrases), which need a judgement; and scripts without
spaces, where a word is a whole clause and token ids serve better.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Sequence

WORD = re.compile(r"\w+(?:['’]\w+)*")
Items = Sequence[Hashable]
Gram = tuple[Hashable, ...]


def words(text: str) -> list[str]:
    """Words and numbers of `text` in order, lower case."""
    return [word.lower() for word in WORD.findall(text)]


def grams(items: Items, n: int) -> list[Gram]:
    """All runs of `n` items, overlapping ones too; none where there are fewer.

    Raises:
        ValueError: `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"a run has at least one item, not {n}")
    return [tuple(items[start : start + n]) for start in range(len(items) - n + 1)]


def in_runs(said: Items, source: Items, least: int) -> list[bool]:
    """For each item of `said`: does it lie in a run of at least `least` items that `source` holds in one piece?"""
    known, copied = set(grams(source, least)), [False] * len(said)
    for start, gram in enumerate(grams(said, least)):
        if gram in known:
            copied[start : start + least] = [True] * least
    return copied


def longest_run(said: Items, source: Items) -> int:
    """Items of the longest run that both hold in one piece; 0 where they share nothing."""
    # a run of n holds one of n - 1, so that the longest can be found by halving
    low, high = 0, min(len(said), len(source))
    while low < high:
        middle = (low + high + 1) // 2
        if set(grams(said, middle)).isdisjoint(grams(source, middle)):
            high = middle - 1
        else:
            low = middle
    return low


def gram_share(said: Items, source: Items, n: int) -> float:
    """Share of the runs of `n` items of `said` that `source` holds too; 0 where `said` has none."""
    own = grams(said, n)
    known = set(grams(source, n))
    return sum(gram in known for gram in own) / len(own) if own else 0.0


def copied_words(text: str, source: str, least: int) -> list[int]:
    """Places, among the words of `text`, of those in runs of at least `least` words that `source` holds too."""
    return [place for place, copied in enumerate(in_runs(words(text), words(source), least)) if copied]


def copied_spans(text: str, source: str, least: int) -> list[tuple[int, int]]:
    """Where the copies of `copied_words` lie in `text`: begin and end of each run, in characters."""
    spans = [match.span() for match in WORD.finditer(text)]
    found: list[tuple[int, int]] = []
    before = -2
    for place in copied_words(text, source, least):
        start, end = spans[place]
        found.append((found.pop()[0] if place == before + 1 else start, end))
        before = place
    return found


def without_words(text: str, places: Collection[int]) -> str:
    """`text` without the words at these places; what stood between them stays, blanks are closed up."""
    gone = set(places)
    kept, end = [], 0
    for place, match in enumerate(WORD.finditer(text)):
        if place in gone:
            kept.append(text[end : match.start()])
            end = match.end()
    return " ".join("".join([*kept, text[end:]]).split())
