"""Held-out fidelity of an autoencoder, beside its controls and with intervals.

Nothing here trains the autoencoder or looks at test rows before they are scored. Names are loaded on first use, so that
naming `EvaluationSettings` in a config imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlae.evaluation.frontier import ReaderBudget
    from nlae.evaluation.paired import Comparison, compare
    from nlae.evaluation.settings import EvaluationSettings
    from nlae.evaluation.suite import evaluate

__all__ = ["Comparison", "EvaluationSettings", "ReaderBudget", "compare", "evaluate"]

_HOME = {
    "Comparison": "paired",
    "compare": "paired",
    "evaluate": "suite",
    "ReaderBudget": "frontier",
    "EvaluationSettings": "settings",
}


def __getattr__(name: str) -> Any:
    """Import the module that defines `name` the first time it is asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
