"""Reading activations in words: inputs, choice of tokens, the reading itself and its forms."""

from nlae.explain.inputs import load_inputs
from nlae.explain.reading import Reading, ReadingRow
from nlae.explain.service import Estimate, explain

__all__ = ["Estimate", "Reading", "ReadingRow", "explain", "load_inputs"]
