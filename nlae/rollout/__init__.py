"""Writing explanations in bulk: the protocol, an engine in the process, and vLLM behind the same protocol."""

from nlae.rollout.local import LocalRollout
from nlae.rollout.protocol import RolloutEngine, Rollouts
from nlae.rollout.vllm import VllmRollout

__all__ = ["LocalRollout", "RolloutEngine", "Rollouts", "VllmRollout"]
