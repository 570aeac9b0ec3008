"""What a judge is asked and what it answers, whoever it is.

A judge sees a description and a text, never an activation, and spreads its belief over a few short options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Question:
    """One question with worked examples before it.

    Attributes:
        text: the question itself.
        shots: (question, answer) pairs about other things, told as earlier turns of the conversation.
        description, shown: what the question is made of, for a judge that compares them without being asked.
    """

    text: str
    shots: tuple[tuple[str, str], ...] = ()
    description: str = ""
    shown: str = ""

    def turns(self) -> list[dict[str, str]]:
        """As messages of a chat."""
        said = [
            {"role": role, "content": content}
            for shot in self.shots
            for role, content in zip(("user", "assistant"), shot, strict=True)
        ]
        return [*said, {"role": "user", "content": self.text}]

    def flat(self) -> str:
        """As one message, for a judge that is asked one message at a time."""
        return "\n\n".join([*(f"{question}\n{answer}" for question, answer in self.shots), self.text])


class Judge(Protocol):
    """Spreads belief over a few short options.

    Attributes:
        name: of its kind.
        calibrated: whether its odds count only beyond those of the same text under a neutral description.
        told_half: whether it is told how many of an entry's windows are active, and gives its yes to as many.
    """

    name: str
    calibrated: bool
    told_half: bool

    def identity(self) -> dict[str, Any]:
        """What the answers depend on, as plain data; never holds a secret."""
        ...

    def choose(
        self,
        questions: Sequence[Question],
        options: Sequence[str],
        *,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Probability of each option for each question, float32 (questions, options).

        Rows of a question that got no usable answer are NaN. Only differences between the options matter: a judge may
        spread its whole belief over them and ignore everything else that could have been said.

        Args:
            questions: what is asked.
            options: single words, told apart by their first letters.
            cache: file that keeps answers by content, for a judge that is slow or paid.
            progress: called with the number of questions just answered.
        """
        ...
