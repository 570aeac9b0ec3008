"""GRPO: rewards are centred and scaled within each activation's group of explanations (arXiv:2402.03300)."""

from __future__ import annotations

from torch import Tensor

from nlae.functional.policy import standardised_advantages, surrogate
from nlae.training.policy.base import Sampled
from nlae.training.reward import Record


class GRPO:
    """The clipped surrogate, weighed by the standardised reward.

    Args:
        clip: of the probability ratio.
    """

    def __init__(self, clip: float = 0.2) -> None:
        self.clip = clip

    def weights(self, reward_GN: Tensor, record: Record) -> Tensor:
        """See `PolicyLoss`."""
        return standardised_advantages(reward_GN)

    def __call__(self, sampled: Sampled) -> Tensor:
        """See `PolicyLoss`; per token."""
        return surrogate(sampled.logp_BT, sampled.old_logp_BT, sampled.weight_B, self.clip)
