"""Words, stems and document frequencies: what counts as a key word of a text, and which key words are one and the same.

Frequencies are counted over the training documents only, so that a test text never shapes its own description.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nlae.teacher.lexicon import EMPTY_WORDS, FUNCTION_WORDS, SEMANTIC

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_SUFFIXES = (
    "ations", "ation", "ingly", "ments", "ment", "ings", "ing", "edly",
    "ies", "ied", "ers", "ed", "es", "er", "ly", "s",
)  # fmt: skip
_MIN_KEY = 3
_MAX_KEY = 16


def words(text: str) -> list[str]:
    """Alphabetic words of `text` in order, case kept."""
    return WORD.findall(text)


def stem(word: str) -> str:
    """A crude stem, good enough to see that `vessels` repeats `vessel`; never shorter than three letters."""
    word = word.lower().split("'")[0].split("’")[0]
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_KEY:
            word = word[: -len(suffix)]
            break
    if len(word) > _MIN_KEY and word[-1] in "eyi":
        word = word[:-1]
    if len(word) > _MIN_KEY and word[-1] == word[-2]:
        word = word[:-1]
    return word


def same_word(left: str, right: str) -> bool:
    """True if the two words would read as a repetition: equal stems, or one long stem that opens the other."""
    a, b = stem(left), stem(right)
    if a == b:
        return True
    short, long = sorted((a, b), key=len)
    return len(short) >= 4 and long.startswith(short)


def is_key(word: str) -> bool:
    """True for a word that can carry a topic: alphabetic, not a function word, neither tiny nor endless."""
    low = word.lower()
    return (
        _MIN_KEY <= len(word) <= _MAX_KEY
        and low not in FUNCTION_WORDS
        and low not in EMPTY_WORDS
        and "'" not in word
        and "’" not in word
    )


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many of `n` training documents each lower-cased key word occurs, and the case it is mostly written in."""

    n: int
    count: dict[str, int]
    spelling: dict[str, str]

    @classmethod
    def fit(cls, texts: Iterable[str]) -> DocumentFrequencies:
        """Count over whole documents; the result depends on the set of texts only, not on their order."""
        count: Counter[str] = Counter()
        cased: dict[str, Counter[str]] = {}
        n = 0
        for text in texts:
            n += 1
            seen = {word for word in words(text) if is_key(word)}
            count.update({word.lower() for word in seen})
            for word in seen:
                cased.setdefault(word.lower(), Counter())[word] += 1
        spelling = {low: min(forms, key=lambda form: (-forms[form], form)) for low, forms in cased.items()}
        return cls(n=n, count=dict(count), spelling=spelling)

    def digest(self) -> str:
        """Hash of the counts."""
        whole = json.dumps([self.n, sorted(self.count.items()), sorted(self.spelling.items())])
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def weight(self, word: str) -> float:
        """Smoothed inverse document frequency; a word that was never seen weighs as if it stood in one document."""
        return math.log1p((self.n + 1) / (self.count.get(word.lower(), 1) + 0.5))

    def knows(self, word: str) -> bool:
        """False for what looks like a piece of a word: short, and seen in no list and no training document."""
        low = word.lower()
        return len(low) > 5 or low in self.count or low in FUNCTION_WORDS or low in EMPTY_WORDS or low in SEMANTIC

    def has_seen(self, word: str) -> bool:
        """True if a training document or one of the lists holds the word (always, while nothing was counted)."""
        low = word.lower()
        return not self.n or low in self.count or low in SEMANTIC

    def spell(self, word: str) -> str:
        """The usual spelling: `lobster` for a `Lobster` that opened a sentence, `Danish` for a `DANISH`."""
        usual = self.spelling.get(word.lower(), word)
        return usual if not usual.isupper() or len(usual) <= 5 else usual.capitalize()


def pick_distinct(candidates: Iterable[str], taken: Sequence[str], limit: int) -> list[str]:
    """The first `limit` candidates that repeat neither each other nor a word of `taken`."""
    chosen: list[str] = []
    for word in candidates:
        if len(chosen) >= limit:
            break
        if not any(same_word(word, other) for other in (*taken, *chosen)):
            chosen.append(word)
    return chosen


def _weight(low: str) -> float:
    """Verbs in the past and adverbs say what happens, seldom what a text is about."""
    return 0.4 if len(low) > 4 and low.endswith(("ed", "ly")) else 1.0


def topic_words(text: str, frequencies: DocumentFrequencies, *, half_life: int = 150) -> list[str]:
    """Key words of `text`, most telling first.

    Score: damped term count times inverse document frequency, where an occurrence loses half its
    weight every `half_life` words before the end (what came lately shapes the activation most).
    """
    found = words(text)
    score: dict[str, float] = {}
    last: dict[str, int] = {}
    for index, word in enumerate(found):
        if not is_key(word):
            continue
        low = word.lower()
        score[low] = score.get(low, 0.0) + 0.5 ** ((len(found) - 1 - index) / half_life)
        last[low] = index
    rank = {low: math.log1p(score[low]) * frequencies.weight(low) * _weight(low) for low in score}
    ranked = sorted(score, key=lambda low: (-rank[low], -last[low]))
    return [frequencies.spell(low) for low in ranked]
