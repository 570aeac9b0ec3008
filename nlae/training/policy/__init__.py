"""Policy losses: how rewards move the verbalizer; each a class in a file."""

from nlae.training.policy.base import PolicyLoss, Sampled
from nlae.training.policy.grpo import GRPO
from nlae.training.policy.rloo import RLOO

__all__ = ["GRPO", "RLOO", "PolicyLoss", "Sampled"]
