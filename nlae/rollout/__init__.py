"""Writing explanations in bulk: the protocol, engines in the process (a fast and a plain one), and vLLM behind it."""

from nlae.rollout.base import RolloutEngine, Rollouts
from nlae.rollout.default import default_engine
from nlae.rollout.local import LocalRollout
from nlae.rollout.plain import PlainRollout
from nlae.rollout.vllm import VllmRollout

__all__ = ["LocalRollout", "PlainRollout", "RolloutEngine", "Rollouts", "VllmRollout", "default_engine"]
