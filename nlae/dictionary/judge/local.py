"""A judge in this process: the odds of the options as the next token, under the model's own chat template.

Any target source will do, the target itself included. Odds are read, nothing is sampled: a model that would rather
write something else first still has a leaning, and that is what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlae.dictionary.judge.protocol import Question
from nlae.dictionary.judge.shared_prefix import batches, next_token_logits
from nlae.errors import NlaeError

if TYPE_CHECKING:
    from nlae.target import Target, TargetSource


class LocalJudge:
    """Next-token odds of a causal LM.

    Args:
        model: where its weights come from.
        device: where it runs.
        dtype: of its weights.
        batch_size: questions read at a time.
        calibrated: whether odds count only beyond those of the same text under a neutral description.
        chat: ask through the chat template; otherwise as plain text that goes on question after question.
    """

    name = "local"

    def __init__(
        self,
        *,
        model: TargetSource,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 32,
        calibrated: bool = True,
        chat: bool = True,
    ) -> None:
        if batch_size < 1:
            raise NlaeError(f"dictionary.judge.batch_size={batch_size} must be at least 1")
        self.source, self.device, self.dtype, self.batch_size = model, device, dtype, batch_size
        self.calibrated, self.told_half, self.chat = calibrated, False, chat

    def identity(self) -> dict[str, Any]:
        """Model, its data type, and how it is asked."""
        kept = ("dtype", "calibrated", "chat")
        return {"judge": self.name, "model": self.source.fingerprint(), **{name: getattr(self, name) for name in kept}}

    @cached_property
    def target(self) -> Target:
        """The model, loaded when the first question is asked."""
        return self.source.load(dtype=self.dtype, device=self.device)

    def choose(
        self,
        questions: Sequence[Question],
        options: Sequence[str],
        *,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """See `Judge`; nothing is cached, since asking again is as cheap as it gets."""
        rows = [self._tokens(question) for question in questions]
        forms = self._first_tokens(options)
        belief_QO = torch.full((len(rows), len(options)), torch.nan)
        for batch in batches(rows, self.batch_size):
            logits_BV = next_token_logits(self.target, [rows[row] for row in batch]).cpu()
            odds_BO = torch.stack([logits_BV[:, ids].logsumexp(-1) for ids in forms], dim=1)
            belief_QO[batch] = odds_BO.softmax(-1)
            if progress is not None:
                progress(len(batch))
        return belief_QO

    def _tokens(self, question: Question) -> list[int]:
        tokenizer: Any = self.target.tokenizer
        if not self.chat:
            return list(tokenizer.encode(question.flat() + "\n"))
        if not tokenizer.chat_template:
            raise NlaeError(
                f"dictionary.judge.model={self.source.name} has no chat template; choose an instruct model, or set "
                "dictionary.judge.chat=false to ask in plain text"
            )
        text = tokenizer.apply_chat_template(question.turns(), tokenize=False, add_generation_prompt=True)
        return list(tokenizer.encode(text, add_special_tokens=False))  # the template wrote the special tokens already

    def _first_tokens(self, options: Sequence[str]) -> list[list[int]]:
        """First tokens of each option, however it is capitalised or spaced.

        Raises:
            NlaeError: two options begin with the same token, so that their odds could not be told apart.
        """
        tokenizer: Any = self.target.tokenizer
        forms = []
        for option in options:
            spelled = {option, option.lower(), option.capitalize()}
            spelled |= {f" {form}" for form in spelled}
            forms.append(sorted({tokenizer.encode(form, add_special_tokens=False)[0] for form in spelled}))
        taken = [token for ids in forms for token in ids]
        if len(set(taken)) < len(taken):
            raise NlaeError(
                f"judge options {', '.join(options)} begin with the same token for {self.source.name}; "
                "choose words that begin differently"
            )
        return forms
