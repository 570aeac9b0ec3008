"""The contract of measures.

A measure reads the record of an evaluation (rows, activations, context tokens, explanations, reconstructions, errors)
and puts figures on its board, each with an interval and beside a null. One of your own is a class in your package and
one line of config: `+evaluation.measures.mine._target_=package.Mine`.
"""

from __future__ import annotations

from typing import Protocol

from nlae.evaluation.record import EvaluationRecord


class Measure(Protocol):
    """One named part of an evaluation.

    A class may set `costly = True`: it is then left out where an autoencoder has several sites, since it writes or
    trains something at each of them.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """Put figures on `record.board`; columns of `rows.parquet` into `record.errors` and `record.columns`."""
        ...
