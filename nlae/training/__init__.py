"""What is optimised, as Lightning modules: the warm start, then joint reinforcement."""

from nlae.training.base import Objective, Schedule, ValidationSet
from nlae.training.fit import fit
from nlae.training.reinforce import Reinforce
from nlae.training.validation import validation_set, zero_shot_gap
from nlae.training.warmstart import WarmStart

__all__ = [
    "Objective",
    "Reinforce",
    "Schedule",
    "ValidationSet",
    "WarmStart",
    "fit",
    "validation_set",
    "zero_shot_gap",
]
