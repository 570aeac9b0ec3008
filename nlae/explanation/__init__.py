"""Reading activations in words: inputs, choice of tokens, the reading itself and its forms."""

from nlae.explanation.inputs import load_inputs
from nlae.explanation.reading import Reading, ReadingRow
from nlae.explanation.service import Estimate, explain

__all__ = ["Estimate", "Reading", "ReadingRow", "explain", "load_inputs"]
