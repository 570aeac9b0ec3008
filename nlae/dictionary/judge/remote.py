"""Judges behind an HTTP endpoint: the teachers' client, cache, cost estimate and consent, with another question.

An answer is one word; token probabilities are not asked for, because half of the servers do not give them. Left out:
several windows in one question, which is cheaper and lets answers lean on each other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from nlae.dictionary.judge.detection import NO, YES, Question
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
    instead: ClassVar[str] = "dictionary.judge=null"

    max_tokens: int = 8

    def compose(self, text: str) -> str:
        """The question as it is: it holds its own instructions."""
        return text

    def accept(self, answer: str) -> str | None:
        """The first yes or no in the answer; None if there is none."""
        return next((word for word in re.findall(r"\w+", answer.lower()) if word in (YES, NO)), None)

    def odds(self, questions: Sequence[Question], cache: Path) -> Tensor:
        """See `Judge`: 1 or −1. Equal questions are asked once, and what the cache knows is not asked again.

        Raises:
            NlaeError: nobody agreed to pay, access refused, or too many failures.
        """
        contexts = [TeacherContext(row, row, question.flat(), []) for row, question in enumerate(questions)]
        odds_Q = torch.full((len(questions),), torch.nan)
        for row, answer in ask_cached(self, contexts, f"{YES}\n{NO}", cache, label="judging").items():
            odds_Q[row] = 1.0 if answer == YES else -1.0
        return odds_Q


@dataclass(kw_only=True)
class OpenAIJudge(_RemoteJudge, OpenAITeacher):
    """A judge behind chat completions, hosted or one's own."""


@dataclass(kw_only=True)
class AnthropicJudge(_RemoteJudge, AnthropicTeacher):
    """A judge behind the Messages API."""
