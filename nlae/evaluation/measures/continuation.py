"""How much of the explanations is what the target would say next: quoting ahead instead of back."""

from __future__ import annotations

from typing import Any

from nlae.errors import NlaeError
from nlae.evaluation.continuation import continuations
from nlae.evaluation.copies import put_copies
from nlae.evaluation.record import EvaluationRecord


class Continuation:
    """`copy/continuation_run` and `copy/continuation_share`: the same as `Copying`, of the target's own continuation.

    The continuations of the drawn rows are the column `continuation` of `rows.parquet`.

    Args:
        rows: at most.
        tokens: that the target goes on for, greedily.
        n: words of the runs that `share` counts.
    """

    costly = True

    def __init__(self, rows: int = 256, tokens: int = 16, n: int = 3) -> None:
        for name, value in (("rows", rows), ("tokens", tokens), ("n", n)):
            if value < 1:
                raise NlaeError(f"evaluation.measures.continuation.{name} is {value}; it must be at least 1")
        self.rows, self.tokens, self.n = rows, tokens, n

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        target: Any = getattr(record.autoencoder, "target", None)
        if not hasattr(target, "model"):
            record.board.note("no copy/continuation: this checkpoint comes without its target's weights")
            return
        places = record.draw(self.rows).nonzero().squeeze(1).tolist()
        contexts = [record.context_ids[i] for i in places]
        written = continuations(record.autoencoder, contexts, self.tokens, record.batch_size)
        said = dict(zip(places, written, strict=True))
        record.columns["continuation"] = [
            record.decode(said[i]) if i in said else None for i in range(len(record.rows))
        ]
        put_copies(record, "continuation", said, self.n)
