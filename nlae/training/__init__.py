"""What joins both halves in training, the rewards and policy losses it learns by, and how Lightning runs any fit.

The halves' own fits are theirs (`nlae.model.Verbalizer`, `nlae.model.Reconstructor`). Names are loaded on first use.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.training.faithfulness import Faithfulness
    from nlae.training.keeping import KeepBest
    from nlae.training.reading import Reading
    from nlae.training.reinforce import Reinforce
    from nlae.training.stopping import StopUnfaithful
    from nlae.training.validation import validation_set, zero_shot_gap

__all__ = [
    "Faithfulness",
    "KeepBest",
    "Reading",
    "Reinforce",
    "StopUnfaithful",
    "validation_set",
    "zero_shot_gap",
]

__getattr__ = lazily(
    __name__,
    {
        "Reading": "reading",
        "Faithfulness": "faithfulness",
        "KeepBest": "keeping",
        "Reinforce": "reinforce",
        "StopUnfaithful": "stopping",
        "validation_set": "validation",
        "zero_shot_gap": "validation",
    },
)
