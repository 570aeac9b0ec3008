"""Held-out fidelity of an autoencoder, beside its controls and with intervals.

Nothing here trains the autoencoder or looks at test rows before they are scored.
"""

from nlae.evaluation.evaluation import Evaluation
from nlae.evaluation.paired import Comparison, compare
from nlae.evaluation.record import EvaluationRecord

__all__ = ["Comparison", "Evaluation", "EvaluationRecord", "compare"]
