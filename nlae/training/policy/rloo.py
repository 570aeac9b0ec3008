"""RLOO: each reward is compared with the mean of the others of its group, and keeps its scale (arXiv:2402.14740)."""

from __future__ import annotations

from torch import Tensor

from nlae.functional.policy import leave_one_out_advantages
from nlae.training.policy.grpo import GRPO
from nlae.training.reward import Record


class RLOO(GRPO):
    """The clipped surrogate, weighed by the reward above the mean of the others.

    Args:
        clip: of the probability ratio.
    """

    def weights(self, reward_GN: Tensor, record: Record) -> Tensor:
        """See `PolicyLoss`."""
        return leave_one_out_advantages(reward_GN)
