"""What a good explanation earns: a sum of terms keyed by name, or the failure reward.

A judge of truth is left out here; it joins as another term. Truncated text is given the failure reward and trained on:
masking it out of the loss has collapsed policies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from nlae.errors import NlaeError


@dataclasses.dataclass(frozen=True)
class Scored:
    """B explanations and what is known of them.

    Attributes:
        error_B: ‖ĥ − ĥ'‖² of the round trip, from 0 to 4.
        length_B: generated tokens, closing tag included.
        closed_B: whether the closing tag was written.
        text: the explanations.
    """

    error_B: Tensor
    length_B: Tensor
    closed_B: Tensor
    text: Sequence[str]


class RewardTerm(Protocol):
    """One summand."""

    def __call__(self, scored: Scored) -> Tensor:
        """Reward per explanation; float32 (B,)."""
        ...


class Fidelity:
    """Minus the squared error of the round trip, or minus its logarithm.

    Args:
        form: `mse` (writes better at equal FVE) or `log`.
        weight: factor.
    """

    def __init__(self, form: str = "mse", weight: float = 1.0) -> None:
        if form not in ("mse", "log"):
            raise NlaeError(f"reward.terms.fidelity.form is {form!r}; choose 'mse' or 'log'")
        self.form, self.weight = form, weight

    def __call__(self, scored: Scored) -> Tensor:
        """See `RewardTerm`."""
        error_B = scored.error_B.float()
        return -self.weight * (error_B if self.form == "mse" else error_B.clamp_min(1e-6).log())


class Length:
    """A hinged price per token: free up to `free_tokens`, then `price` each.

    Args:
        free_tokens: tokens that cost nothing.
        price: per further token.
    """

    def __init__(self, free_tokens: int = 40, price: float = 0.001) -> None:
        self.free_tokens, self.price = free_tokens, price

    def __call__(self, scored: Scored) -> Tensor:
        """See `RewardTerm`."""
        return -self.price * (scored.length_B.float() - self.free_tokens).clamp_min(0)


class Reward:
    """The sum of all terms; `failure` for text that is empty or was not closed.

    Args:
        terms: by name; the names appear in logs as `reward/<name>`.
        failure: what an unclosed or empty explanation earns instead.
    """

    def __init__(self, terms: Mapping[str, RewardTerm], failure: float = -2.5) -> None:
        if not terms:
            raise NlaeError("reward.terms is empty: nothing would be learned; add e.g. +reward.terms.fidelity")
        self.terms, self.failure = dict(terms), failure

    def __call__(self, scored: Scored) -> tuple[Tensor, dict[str, Tensor]]:
        """Total reward (B,), and the mean of each term as `reward/<name>`: tensors of one number, not yet read."""
        parts = {name: term(scored) for name, term in self.terms.items()}
        total_B = torch.stack(list(parts.values())).sum(0)
        filled_B = torch.tensor([bool(text.strip()) for text in scored.text], device=scored.closed_B.device)
        good_B = (scored.closed_B & filled_B).to(total_B.device)
        total_B = torch.where(good_B, total_B, torch.full_like(total_B, self.failure))
        means = {f"reward/{name}": part.mean() for name, part in parts.items()}
        failed = 1 - good_B.float().mean().double()
        return total_B, {**means, "reward/total": total_B.mean(), "reward/failed": failed}
