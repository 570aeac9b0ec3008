"""What is optimised, as Lightning modules: the warm start, then joint reinforcement."""

from nlae.objective.base import Objective
from nlae.objective.reinforce import Reinforce
from nlae.objective.warmstart import WarmStart

__all__ = ["Objective", "Reinforce", "WarmStart"]
