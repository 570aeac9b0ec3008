"""Judges behind an HTTP endpoint: the teachers' client, cache, cost estimate and consent, with another question.

An answer is one word, so belief is all or nothing; token probabilities are not asked for, because half of the servers
do not give them. Left out: several windows in one question, which is cheaper and lets answers lean on each other.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlae.dictionary.judge.protocol import Question
from nlae.teacher.anthropic import AnthropicTeacher
from nlae.teacher.api import ApiTeacher
from nlae.teacher.base import TeacherContext
from nlae.teacher.describe import ask_cached
from nlae.teacher.openai import OpenAITeacher


@dataclass(kw_only=True)
class _RemoteJudge(ApiTeacher):
    """What both kinds of server share; see `ApiTeacher` for the settings."""

    role: ClassVar[str] = "judge"
    node: ClassVar[str] = "dictionary.judge"
    instead: ClassVar[str] = "dictionary/judge=none"

    calibrated = False  # belief that is all or nothing has no leaning to subtract
    told_half = False

    max_tokens: int = 8
    _options: tuple[str, ...] = field(default=(), init=False, repr=False)

    def identity(self) -> dict[str, Any]:
        """Model and sampling."""
        return {"judge": self.name, **{key: value for key, value in super().identity().items() if key != "teacher"}}

    def compose(self, text: str) -> str:
        """The question as it is: it holds its own instructions."""
        return text

    def accept(self, answer: str) -> str | None:
        """The first option that the answer names; None if it names none."""
        words = re.findall(r"\w+", answer.lower())
        return next((word for word in words if word in self._options), None)

    def choose(
        self,
        questions: Sequence[Question],
        options: Sequence[str],
        *,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """See `Judge`; equal questions are asked once, and what the cache knows is not asked again.

        Raises:
            NlaeError: nobody agreed to pay, access refused, or too many failures.
        """
        self._options = tuple(option.lower() for option in options)
        contexts = [TeacherContext(row, row, question.flat(), []) for row, question in enumerate(questions)]
        with tempfile.TemporaryDirectory() as spare:
            path = cache if cache is not None else Path(spare) / "answers.jsonl"
            answers = ask_cached(self, contexts, "\n".join(self._options), path, label="judging")
        belief_QO = torch.full((len(questions), len(options)), torch.nan)
        for row, answer in answers.items():
            belief_QO[row] = torch.tensor([float(option == answer) for option in self._options])
        if progress is not None:
            progress(len(questions))
        return belief_QO


@dataclass(kw_only=True)
class OpenAIJudge(_RemoteJudge, OpenAITeacher):
    """A judge behind chat completions, hosted or one's own."""


@dataclass(kw_only=True)
class AnthropicJudge(_RemoteJudge, AnthropicTeacher):
    """A judge behind the Messages API."""
