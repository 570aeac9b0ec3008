"""Context-only texts: what an entry's exemplars have in common, said without any model.

Named are the tokens it peaks at, the phrase that leads up to the peak, and words that stand nearby far more often than
elsewhere. It is a candidate like any other, and what the autoencoder's texts are compared with: at equal length only
where `word_limit` is about as many words as these have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from nlae.teacher.words import DocumentFrequencies, is_key, same_word, words

NOTHING = ""
_PEAKS, _NEARBY, _PHRASE = 3, 4, 4
_SHARE = 0.25  # of the exemplars


def context_only(windows: Sequence[Sequence[str]], frequencies: DocumentFrequencies, word_limit: int) -> str:
    """A text about the windows; empty where there are none.

    Args:
        windows: tokens of each exemplar up to its peak, which is the last one; strongest first.
        frequencies: of words in the training documents.
        word_limit: words of the text at most.
    """
    filled = [list(window) for window in windows if window]
    if not filled:
        return NOTHING
    last = [window[-1] for window in filled]
    parts = _naming(peak_tokens(last, _PEAKS))
    phrase = shared_phrase(filled)
    if phrase:
        parts.append(f'as in "{phrase}"' if parts else f'Text with "{phrase}"')
    nearby = nearby_words(filled, frequencies, known=words(" ".join(parts)))
    if nearby:
        parts.append(("near " if parts else "Text with ") + ", ".join(nearby))
    # where nothing is common to them, the first peak is better than no text
    parts = parts or _naming(peak_tokens(last[:1], 1))
    text = " ".join(" ".join(parts).split()[:word_limit]).rstrip(",")
    return text + '"' * (text.count('"') % 2)  # a quote that the limit has cut is closed


def peak_tokens(tokens: Sequence[str], limit: int) -> list[str]:
    """The commonest peaks, case and spaces apart; only those that many exemplars share."""
    count = Counter(token.strip().lower() for token in tokens if token.strip())
    return [token for token, n in count.most_common(limit) if n >= _many(len(tokens))]


def _naming(peaks: Sequence[str]) -> list[str]:
    return ["The token " + " or ".join(f'"{peak}"' for peak in peaks)] if peaks else []


def _many(exemplars: int) -> int:
    """How many exemplars must share what is named: by chance two of a dozen share something."""
    return min(exemplars, max(2, math.ceil(_SHARE * exemplars)))


def shared_phrase(windows: Sequence[Sequence[str]]) -> str:
    """The longest run of tokens up to the peak that two windows share, of two tokens at least; else empty."""
    for length in range(_PHRASE, 1, -1):
        runs = Counter("".join(window[-length:]).strip() for window in windows if len(window) >= length)
        run, count = runs.most_common(1)[0] if runs else ("", 0)
        if count > 1 and len(run.split()) > 1:
            return " ".join(run.split())
    return ""


def nearby_words(
    windows: Sequence[Sequence[str]], frequencies: DocumentFrequencies, known: Sequence[str] = ()
) -> list[str]:
    """Words that stand in many windows and are rare elsewhere, most telling first; none like another or a known one.

    Args:
        windows: tokens of each exemplar.
        frequencies: of words in the training documents.
        known: words that are named already.
    """
    count: Counter[str] = Counter()
    for window in windows:
        count.update({word.lower() for word in words("".join(window)) if is_key(word)})
    many = {word: n for word, n in count.items() if n >= max(2, _many(len(windows)))}
    chosen: list[str] = []
    for word in sorted(many, key=lambda word: (-many[word] * frequencies.weight(word), word)):
        if len(chosen) < _NEARBY and not any(same_word(word, other) for other in [*known, *chosen]):
            chosen.append(word)
    return [frequencies.spell(word) for word in chosen]
