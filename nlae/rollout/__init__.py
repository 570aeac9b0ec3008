"""Writing explanations in bulk: the protocol, and the engine that runs in the process."""

from nlae.rollout.local import LocalRollout
from nlae.rollout.protocol import RolloutEngine, Rollouts

__all__ = ["LocalRollout", "RolloutEngine", "Rollouts"]
