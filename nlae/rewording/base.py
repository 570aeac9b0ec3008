"""The contract of rewordings, and what those have in common that look at one text at a time."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol


@dataclasses.dataclass(frozen=True)
class Reworded:
    """What became of some texts.

    Attributes:
        texts: one for each text given; None where the rewording has nothing to change, or could not.
        shares: figures about the rewording itself, by name.
        note: what a reader must know, in one line; "" where there is nothing.
    """

    texts: list[str | None]
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""


class Rewording(Protocol):
    """Says texts otherwise. One of your own is a class in your package and one line of config.

    A class attribute `headline = True` says that it keeps the meaning: what survives it is a headline, so that no
    reward may be computed on it.
    """

    def __call__(self, texts: Sequence[str], seeds: Sequence[int], folder: Path) -> Reworded:
        """Reword.

        Args:
            texts: explanations.
            seeds: one for each.
            folder: where what is expensive may be kept.
        """
        ...


class PerText(abc.ABC):
    """A rewording that needs to see no other text."""

    headline: ClassVar[bool] = False

    @abc.abstractmethod
    def one(self, text: str, seed: int) -> str:
        """`text` reworded; the same for the same seed."""

    def applies(self, text: str) -> bool:
        """Whether there is anything in `text` that this rewording is about."""
        return bool(text.strip())

    def __call__(self, texts: Sequence[str], seeds: Sequence[int], folder: Path) -> Reworded:
        """See `Rewording`."""
        return Reworded(
            [self.one(text, seed) if self.applies(text) else None for text, seed in zip(texts, seeds, strict=True)]
        )
