"""What every source of text has in common: documents, a fingerprint of their content, and the settings of the cut.

The settings live with the source because a config has one `corpus` node; nothing here reads a file or imports torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from nlae.errors import NlaeError


@dataclasses.dataclass(frozen=True)
class Document:
    """One text, before it is cut.

    Attributes:
        id: stable across machines and runs.
        text: the text; empty where `messages` are given.
        source: the source work (article, speech, conversation, module): splits and intervals go by it.
        messages: a conversation, as `{"role", "content"}` mappings, for the tokenizer's chat template.
        parts_left_out, messages_left_out: images and the like, and messages without text, that are not in `messages`.
    """

    id: str
    text: str
    source: str
    messages: Sequence[Mapping[str, str]] | None = None
    parts_left_out: int = 0
    messages_left_out: int = 0


@dataclasses.dataclass(frozen=True)
class Broken:
    """A record that cannot be read.

    Attributes:
        where: file and line, or dataset and number.
        why: what is wrong with it.
    """

    where: str
    why: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusSource(ABC):
    """Settings shared by all corpora; a subclass says where the documents come from.

    Attributes:
        max_documents: passages to keep, taken in turn from all works; None keeps everything.
        max_tokens: a longer document is cut into passages of at most this many tokens, at ends of sentences.
        min_tokens: shorter passages are left out and counted.
        positions_per_document: rows drawn from each passage.
        first_position: no position before this one is drawn; 0 is the first token of the passage.
        short_share: share of the positions that are drawn from the first 32 tokens, so that short contexts are common.
        val_share, test_share: shares of the source works.
        seed: splits and positions; training has its own.
        near_duplicates: Jaccard similarity of five-word runs from which two works must share a split; None is off.
        split_by: `source`, or `document` to treat every passage as a work of its own (one long text).
        max_broken_share: share of the records that may be broken; they are left out, counted and named. More stop the
            build. It changes nothing of a corpus that is made, so it enters no fingerprint.
    """

    max_documents: int | None = None
    max_tokens: int = 128
    min_tokens: int = 24
    positions_per_document: int = 4
    first_position: int = 1
    short_share: float = 0.2
    val_share: float = 0.1
    test_share: float = 0.2
    seed: int = 0
    near_duplicates: float | None = 0.6
    split_by: str = "source"
    max_broken_share: float = 0.01

    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse settings that no corpus can satisfy."""
        for name in ("max_tokens", "min_tokens", "positions_per_document"):
            if getattr(self, name) < 1:
                raise NlaeError(f"corpus.{name}={getattr(self, name)} must be at least 1")
        if self.max_documents is not None and self.max_documents < 3:
            raise NlaeError(f"corpus.max_documents={self.max_documents} is too few: each of three splits needs one")
        if self.min_tokens > self.max_tokens:
            raise NlaeError(f"corpus.min_tokens={self.min_tokens} exceeds corpus.max_tokens={self.max_tokens}")
        if not 0 <= self.first_position < self.max_tokens:
            raise NlaeError(
                f"corpus.first_position={self.first_position} lies outside the {self.max_tokens} tokens of a passage: "
                "lower it or raise corpus.max_tokens"
            )
        if not 0 <= self.short_share <= 1:
            raise NlaeError(f"corpus.short_share={self.short_share} must lie between 0 and 1")
        if min(self.val_share, self.test_share) <= 0 or self.val_share + self.test_share >= 1:
            raise NlaeError(
                f"corpus.val_share={self.val_share} and corpus.test_share={self.test_share} must be positive and leave "
                "a share for training"
            )
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise NlaeError(f"corpus.near_duplicates={self.near_duplicates} must lie between 0 and 1, or be null")
        if not 0 <= self.max_broken_share <= 1:
            raise NlaeError(f"corpus.max_broken_share={self.max_broken_share} must lie between 0 and 1")
        if self.split_by not in ("source", "document"):
            raise NlaeError(f"corpus.split_by={self.split_by}: unknown; choose source or document")

    @abstractmethod
    def documents(self) -> Iterator[Document | Broken]:
        """Yield the documents in a fixed order, and in their place those that cannot be read.

        Raises:
            NlaeError: nothing there, or something that cannot be read.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the content that `documents` would read; quick, since every command asks for it."""


def stable_hash(*parts: object) -> int:
    """64 bits that depend on the printed parts only: not on the process, the platform or the library versions."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")
