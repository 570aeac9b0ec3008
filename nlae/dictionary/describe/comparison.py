"""What the autoencoder's texts are compared with: key words of the same entry, as many texts on either side.

The best of several texts beats a single one by luck alone, so key words of parts of the exemplars stand beside those of
all. They take part in the comparison only: an entry chooses among no more key words than its nulls do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from nlae.dictionary.describe.candidates import Sample
from nlae.dictionary.describe.key_words import NOTHING, context_only
from nlae.teacher.words import DocumentFrequencies


def context_texts(
    windows: Sequence[Sequence[str]], frequencies: DocumentFrequencies, word_limit: int, count: int
) -> list[str]:
    """Different texts about the windows, `count` at most: of all of them first, then of parts, then of single ones.

    Args:
        windows: as for `context_only`.
        frequencies: of words in the training documents.
        word_limit: words of each text at most.
        count: texts wanted.
    """
    half = len(windows) // 2
    parts = [windows, windows[:half], windows[half:], windows[::2], windows[1::2], *([window] for window in windows)]
    found: dict[str, None] = {}
    for part in parts:
        text = context_only(part, frequencies, word_limit)
        if text != NOTHING and len(found) < count:
            found[text] = None
    return list(found)


def equal_numbers(
    written_2nK: Tensor, sample: Sample, key_words: Sequence[Sequence[int]], words: Sequence[str], count: int
) -> dict[str, Tensor]:
    """As many texts of the autoencoder as key-word texts of each sampled entry: the first that differ of each.

    Args:
        written_2nK: the autoencoder's texts of each entry, −1 where it has fewer.
        sample: entries that have key words.
        key_words: theirs, in the order of the sample.
        words: all texts; some of them say the same.
        count: texts at most.

    Returns:
        `verbalized` and `context_only`, int64 (2, n, count), −1 where there are no more.
    """
    found = {name: torch.full((*written_2nK.shape[:2], count), -1) for name in ("verbalized", "context_only")}
    for sign, column, beside in zip(*sample.place, key_words, strict=True):
        both = [_different(places, words) for places in (written_2nK[sign, column].tolist(), beside)]
        number = min(count, *map(len, both))
        for name, places in zip(found, both, strict=True):
            found[name][sign, column, :number] = torch.tensor(places[:number], dtype=torch.long)
    return found


def _different(places: Iterable[int], words: Sequence[str]) -> list[int]:
    first: dict[str, int] = {}
    for place in places:
        if place >= 0:
            first.setdefault(words[place], place)
    return list(first.values())
