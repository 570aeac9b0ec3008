"""What joins both halves in training, the rewards and policy losses it learns by, and how Lightning runs any fit.

The halves' own fits are theirs (`nlae.model.Verbalizer`, `nlae.model.Reconstructor`). Names are loaded on first use.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.training.reading import Reading
    from nlae.training.reinforce import Reinforce
    from nlae.training.validation import validation_set, zero_shot_gap

__all__ = ["Reading", "Reinforce", "validation_set", "zero_shot_gap"]

__getattr__ = lazily(
    __name__,
    {
        "Reading": "reading",
        "Reinforce": "reinforce",
        "validation_set": "validation",
        "zero_shot_gap": "validation",
    },
)
