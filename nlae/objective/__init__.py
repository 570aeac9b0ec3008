"""What is optimised, as Lightning modules: the warm start, then joint reinforcement."""

from nlae.objective.base import Objective, Schedule, ValidationSet
from nlae.objective.fit import fit
from nlae.objective.reinforce import Reinforce
from nlae.objective.settings import ReinforceSettings, WarmStartSettings
from nlae.objective.validation import validation_set, zero_shot_gap
from nlae.objective.warmstart import WarmStart

__all__ = [
    "Objective",
    "Reinforce",
    "ReinforceSettings",
    "Schedule",
    "ValidationSet",
    "WarmStart",
    "WarmStartSettings",
    "fit",
    "validation_set",
    "zero_shot_gap",
]
