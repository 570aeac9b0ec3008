"""How much of the explanations stands word for word in their contexts.

What it does not say: that the rest is description. Near copies and guessed quotes go uncounted.
"""

from __future__ import annotations

from nlae.errors import NlaeError
from nlae.evaluation.copies import put_copies
from nlae.evaluation.record import EvaluationRecord


class Copying:
    """`copy/context_run` and `copy/context_share`: longest run and share of runs that the context holds too.

    See `nlae.evaluation.copies` for the passage each stands beside. The context is the store's last 64 tokens.

    Args:
        n: words of the runs that `share` counts.
    """

    def __init__(self, n: int = 3) -> None:
        if n < 1:
            raise NlaeError(f"evaluation.measures.copying.n is {n}; a run has at least 1 word")
        self.n = n

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        places = record.main_N.nonzero().squeeze(1).tolist()
        put_copies(record, "context", {i: record.context_ids[i] for i in places}, self.n)
