"""Held-out fidelity of an autoencoder, beside its controls and with intervals.

Nothing here trains the autoencoder or looks at test rows before they are scored. Names are loaded on first use, so that
naming `EvaluationSettings` in a config imports no torch.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.evaluation.frontier import ReaderBudget
    from nlae.evaluation.paired import Comparison, compare
    from nlae.evaluation.settings import EvaluationSettings
    from nlae.evaluation.suite import evaluate

__all__ = ["Comparison", "EvaluationSettings", "ReaderBudget", "compare", "evaluate"]

__getattr__ = lazily(
    __name__,
    {
        "Comparison": "paired",
        "compare": "paired",
        "evaluate": "suite",
        "ReaderBudget": "frontier",
        "EvaluationSettings": "settings",
    },
)
