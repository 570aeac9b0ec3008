"""A corpus: made-up diaries."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from nlae.corpus import CorpusSource, Document

WORDS = ("river", "stone", "bread", "winter", "letter", "garden", "engine", "bridge", "copper", "night", "window")


@dataclass(frozen=True, kw_only=True)
class Diaries(CorpusSource):
    """`works` diaries, each of a few words of its own."""

    works: int = 40

    def documents(self) -> Iterator[Document]:
        for number in range(self.works):
            draw = random.Random(number)
            words = [word + suffix for word in draw.sample(WORDS, 6) for suffix in ("", "s", "like")]
            days = [f"On day {day} I saw the {' and the '.join(draw.sample(words, 4))}." for day in range(1, 13)]
            yield Document(id=f"diary-{number}", text=" ".join(days), source=f"diary-{number}")

    def fingerprint(self) -> str:
        return hashlib.sha256(f"diaries {self.works}".encode()).hexdigest()
