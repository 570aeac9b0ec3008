"""A judge in this process: the odds of yes as the next token, under the model's own chat template.

Any target source will do. Odds are read, nothing is sampled: a model that would rather write something else first
still has a leaning, and that is what is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlae.dictionary.judge.detection import NO, YES, Question
from nlae.errors import NlaeError
from nlae.terminal.progress import track

if TYPE_CHECKING:
    from nlae.target import Target, TargetSource


class LocalJudge:
    """Next-token odds of a causal LM.

    Args:
        model: where its weights come from.
        device: where it runs.
        dtype: of its weights.
        batch_size: questions read at a time.
    """

    def __init__(
        self, *, model: TargetSource, device: str = "cpu", dtype: str = "float32", batch_size: int = 32
    ) -> None:
        if batch_size < 1:
            raise NlaeError(f"dictionary.judge.batch_size={batch_size} must be at least 1")
        self.source, self.device, self.dtype, self.batch_size = model, device, dtype, batch_size

    @cached_property
    def target(self) -> Target:
        """The model, loaded when the first question is asked."""
        return self.source.load(dtype=self.dtype, device=self.device)

    def odds(self, questions: Sequence[Question], cache: Path) -> Tensor:
        """See `Judge`; nothing is cached."""
        rows = [self._ids(question) for question in questions]
        yes, no = self._first_tokens(YES), self._first_tokens(NO)
        odds_Q = torch.zeros(len(rows))
        order = sorted(range(len(rows)), key=lambda row: (len(rows[row]), row))  # little is padded
        for start in track(range(0, len(order), self.batch_size), description="questions asked, by batch"):
            batch = order[start : start + self.batch_size]
            logits_BV = self.target.next_token_logits([rows[row] for row in batch]).cpu()
            odds_Q[batch] = logits_BV[:, yes].logsumexp(-1) - logits_BV[:, no].logsumexp(-1)
        return odds_Q

    def _ids(self, question: Question) -> list[int]:
        tokenizer: Any = self.target.tokenizer
        if not tokenizer.chat_template:
            raise NlaeError(f"dictionary.judge.model={self.source.name} has no chat template; choose an instruct model")
        text = tokenizer.apply_chat_template(question.turns(), tokenize=False, add_generation_prompt=True)
        return list(tokenizer.encode(text, add_special_tokens=False))  # the template wrote the special tokens already

    def _first_tokens(self, word: str) -> list[int]:
        """First tokens of a word, however it is capitalised or spaced."""
        tokenizer: Any = self.target.tokenizer
        forms = [f"{space}{form}" for space in ("", " ") for form in (word, word.capitalize())]
        return sorted({tokenizer.encode(form, add_special_tokens=False)[0] for form in forms})
