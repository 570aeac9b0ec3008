"""A price for long explanations."""

from __future__ import annotations

from torch import Tensor

from nlae.training.reward.base import Record


class Length:
    """A hinged price per token: free up to `free_tokens`, then `price` each.

    Args:
        free_tokens: tokens that cost nothing.
        price: per further token.
    """

    def __init__(self, free_tokens: int = 40, price: float = 0.001) -> None:
        self.free_tokens, self.price = free_tokens, price

    def __call__(self, record: Record) -> Tensor:
        """See `RewardTerm`."""
        return -self.price * (record.length_B.float() - self.free_tokens).clamp_min(0)
