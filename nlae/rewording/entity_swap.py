"""Names and numbers of a text exchanged for those of other texts: is it the particulars that carry it, or the rest?

A name is a capitalised word, or several in a row, that opens no sentence and is no function word. Heuristics only: a
tagger would be a second model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nlae.rewording.base import Reworded
from nlae.teacher.lexicon import FUNCTION_WORDS

_CAPITAL = r"[A-ZÀ-ÖØ-Þ][\w’'-]*"
_ENTITY = re.compile(rf"(?P<number>\d+(?:[.,:]\d+)*)|(?P<name>\b{_CAPITAL}(?:[ ]{_CAPITAL})*)")
_OPENS = re.compile(r"(?:^|[.!?…\n]|[-•*]\s)[\"'“‘(\[]*\s*$")


def entities(text: str) -> list[tuple[str, int, int]]:
    """Kind (`name` or `number`), start and end of every name and number, in order."""
    found = []
    for match in _ENTITY.finditer(text):
        kind, start, end = str(match.lastgroup), match.start(), match.end()
        if kind == "name":
            # a first word that opens a sentence, or says what a small word says, is capitalised for that alone
            first = match.group().split(" ")[0]
            if _OPENS.search(text[:start]) or first.lower() in FUNCTION_WORDS:
                start += len(first) + 1
        if start < end:
            found.append((kind, start, end))
    return found


def swapped_entities(text: str, pools: dict[str, list[str]], seed: int) -> str | None:
    """`text` with every name and number replaced by another of `pools`, equal ones alike; None where there is none."""
    found = entities(text)
    own = {text[start:end] for _, start, end in found}
    rng = np.random.default_rng(seed)
    others = {kind: [entity for entity in pool if entity not in own] for kind, pool in pools.items()}
    instead: dict[str, str] = {}
    parts, at = [], 0
    for kind, start, end in found:
        if not others.get(kind):
            continue
        entity = text[start:end]
        if entity not in instead:
            instead[entity] = others[kind][int(rng.integers(len(others[kind])))]
        parts += [text[at:start], instead[entity]]
        at = end
    return "".join([*parts, text[at:]]) if parts else None


class EntitySwap:
    """Texts that name something, with the names and numbers of the others.

    `swapped` is the share of texts that do.
    """

    def __call__(self, texts: Sequence[str], seeds: Sequence[int], folder: Path) -> Reworded:
        """See `Rewording`."""
        pools: dict[str, list[str]] = {}
        for text in dict.fromkeys(texts):
            for kind, start, end in entities(text):
                pools.setdefault(kind, []).append(text[start:end])
        pools = {kind: sorted(set(pool)) for kind, pool in pools.items()}
        swapped = [swapped_entities(text, pools, seed) for text, seed in zip(texts, seeds, strict=True)]
        return Reworded(swapped, {"swapped": sum(text is not None for text in swapped) / max(len(texts), 1)})
