"""Context-only texts: what an entry's exemplars have in common, said without any model.

Named are the tokens it peaks at, the phrase that leads up to the peak, and words that stand nearby far more often than
elsewhere. It is a candidate like any other, and what the autoencoder's texts are compared with at equal length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nlae.teacher.words import DocumentFrequencies, is_key, same_word, words

NOTHING = ""
_PEAKS, _NEARBY, _PHRASE = 3, 4, 4


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
    peaks = peak_tokens([window[-1] for window in filled], _PEAKS)
    parts = ["The token " + " or ".join(f'"{peak}"' for peak in peaks)] if peaks else []
    phrase = shared_phrase(filled)
    if phrase:
        parts.append(f'as in "{phrase}"')
    nearby = nearby_words(filled, frequencies, known=words(" ".join(parts)))
    if nearby:
        parts.append(("near " if parts else "Text with ") + ", ".join(nearby))
    text = " ".join(" ".join(parts).split()[:word_limit]).rstrip(",")
    return text + '"' * (text.count('"') % 2)  # a quote that the limit has cut is closed


def peak_tokens(tokens: Sequence[str], limit: int) -> list[str]:
    """The commonest peaks, case and spaces apart; only those that recur where any does."""
    count = Counter(token.strip().lower() for token in tokens if token.strip())
    recurring = [token for token, n in count.most_common(limit) if n > 1]
    return recurring or [token for token, _ in count.most_common(1)]


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
    """Words that stand in several windows and are rare elsewhere, most telling first; none like another or a known one.

    Args:
        windows: tokens of each exemplar.
        frequencies: of words in the training documents.
        known: words that are named already.
    """
    count: Counter[str] = Counter()
    for window in windows:
        count.update({word.lower() for word in words("".join(window)) if is_key(word)})
    several = {word: n for word, n in count.items() if n > 1}
    chosen: list[str] = []
    for word in sorted(several, key=lambda word: (-several[word] * frequencies.weight(word), word)):
        if len(chosen) < _NEARBY and not any(same_word(word, other) for other in [*known, *chosen]):
            chosen.append(word)
    return [frequencies.spell(word) for word in chosen]
