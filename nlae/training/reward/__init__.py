"""What a good explanation earns: terms by name, each a class in a file, each given the whole record."""

from nlae.training.reward.base import Record, RewardTerm
from nlae.training.reward.copying import Copying
from nlae.training.reward.fidelity import Fidelity
from nlae.training.reward.length import Length
from nlae.training.reward.reward import Reward

__all__ = ["Copying", "Fidelity", "Length", "Record", "Reward", "RewardTerm"]
