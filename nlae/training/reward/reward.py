"""The sum of a reward's terms, or the failure reward.

Truncated text is given the failure reward and trained on: masking it out of the loss has collapsed policies. A judge of
truth is left out; it joins as another term.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.training.reward.base import Record, RewardTerm


class Reward:
    """The sum of all terms; `failure` for text that is empty or was not closed.

    Args:
        terms: by name; the names appear in logs as `reward/<name>`. None leaves a term out.
        failure: what an unclosed or empty explanation earns instead.
    """

    def __init__(self, terms: Mapping[str, RewardTerm | None], failure: float = -2.5) -> None:
        self.terms = {name: term for name, term in terms.items() if term is not None}
        if not self.terms:
            raise NlaeError("reward.terms is empty: nothing would be learned; add e.g. +reward.terms.fidelity")
        for name, term in self.terms.items():
            if not callable(term):
                raise NlaeError(f"reward.terms.{name} is a {type(term).__name__}: it needs a _target_ that is callable")
        self.failure = failure

    def __call__(self, record: Record) -> tuple[Tensor, dict[str, Tensor]]:
        """Total reward (B,), and the mean of each term as `reward/<name>`: tensors of one number, not yet read.

        Raises:
            NlaeError: a term returns something else than a float for each explanation.
        """
        parts = {name: _checked(name, term(record), record) for name, term in self.terms.items()}
        total_B = torch.stack(list(parts.values())).sum(0)
        filled_B = torch.tensor([bool(text.strip()) for text in record.text], device=record.closed_B.device)
        good_B = (record.closed_B & filled_B).to(total_B.device)
        total_B = torch.where(good_B, total_B, torch.full_like(total_B, self.failure))
        means = {f"reward/{name}": part.mean() for name, part in parts.items()}
        failed = 1 - good_B.float().mean().double()
        return total_B, {**means, "reward/total": total_B.mean(), "reward/failed": failed}

    def check(self, means: Mapping[str, float]) -> None:
        """Refuse terms whose mean, once it is read, is not finite: one number that is none makes it so.

        Kept apart from the sum because reading makes the host wait, and all figures of an update are read at once.

        Raises:
            NlaeError: naming the term.
        """
        for name in self.terms:
            if not math.isfinite(means[f"reward/{name}"]):
                raise NlaeError(f"reward.terms.{name} gave rewards that are not finite: every explanation needs one")


def _checked(name: str, part: object, record: Record) -> Tensor:
    """A term's rewards as float32 where the errors lie."""
    wanted = f"a float tensor of shape ({len(record.text)},), one reward per explanation"
    if not isinstance(part, Tensor):
        raise NlaeError(f"reward.terms.{name} returned a {type(part).__name__}; it must return {wanted}")
    if part.shape != (len(record.text),) or not part.is_floating_point():
        found = f"{str(part.dtype).removeprefix('torch.')} of shape {tuple(part.shape)}"
        raise NlaeError(f"reward.terms.{name} returned {found}; it must return {wanted}")
    return part.detach().to(record.error_B.device, torch.float32)
