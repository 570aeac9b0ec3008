"""Text made up of eight nouns and many numbers, every work longer than the one before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from nlae.corpus import CorpusSource, Document

WORDS = ["river", "stone", "cloud", "lamp", "garden", "letter", "window", "engine"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Invented(CorpusSource):
    """`works` works; the first has `sentences` sentences, each further one `longer` more."""

    works: int = 10
    sentences: int = 4
    longer: int = 2
    near_duplicates: float | None = None

    def sentence(self, work: int, k: int) -> str:
        return f"The {WORDS[(work * k + k) % 8]} met {k * work} of {WORDS[k % 8]}."

    def documents(self) -> Iterator[Document]:
        for work in range(self.works):
            lines = [self.sentence(work, k) for k in range(self.sentences + self.longer * work)]
            yield Document(f"doc{work}", " ".join(lines), f"work{work}")

    def fingerprint(self) -> str:
        return "invented"
