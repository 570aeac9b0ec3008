"""What an evaluation measures: each a class in a file, called with the whole record; `conf/evaluation` lists them."""

from nlae.evaluation.measures.base import Measure
from nlae.evaluation.measures.calibrated import Calibrated
from nlae.evaluation.measures.claims import Claims
from nlae.evaluation.measures.consensus import Consensus
from nlae.evaluation.measures.continuation import Continuation
from nlae.evaluation.measures.copying import Copying
from nlae.evaluation.measures.cross import Cross
from nlae.evaluation.measures.empty import Empty
from nlae.evaluation.measures.frontier import Frontier
from nlae.evaluation.measures.function import Function
from nlae.evaluation.measures.greedy import Greedy
from nlae.evaluation.measures.kept import Kept
from nlae.evaluation.measures.kept_refit import KeptRefit
from nlae.evaluation.measures.last_token import LastToken
from nlae.evaluation.measures.lengths import Lengths
from nlae.evaluation.measures.matching import Matching
from nlae.evaluation.measures.mean import Mean
from nlae.evaluation.measures.neurons import Neurons
from nlae.evaluation.measures.no_injection import NoInjection
from nlae.evaluation.measures.pca import PCA
from nlae.evaluation.measures.quote_equivalent import QuoteEquivalent
from nlae.evaluation.measures.rank import Rank
from nlae.evaluation.measures.raw_space import RawSpace
from nlae.evaluation.measures.retrieval import Retrieval
from nlae.evaluation.measures.sentences import Sentences
from nlae.evaluation.measures.shuffled import Shuffled
from nlae.evaluation.measures.teacher import Teacher

__all__ = [
    "PCA",
    "Calibrated",
    "Claims",
    "Consensus",
    "Continuation",
    "Copying",
    "Cross",
    "Empty",
    "Frontier",
    "Function",
    "Greedy",
    "Kept",
    "KeptRefit",
    "LastToken",
    "Lengths",
    "Matching",
    "Mean",
    "Measure",
    "Neurons",
    "NoInjection",
    "QuoteEquivalent",
    "Rank",
    "RawSpace",
    "Retrieval",
    "Sentences",
    "Shuffled",
    "Teacher",
]
