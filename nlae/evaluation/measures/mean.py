"""What can be had while knowing nothing."""

from __future__ import annotations

from nlae.evaluation.record import EvaluationRecord


class Mean:
    """`control/mean`: μ/‖μ‖ for every row."""

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        record.put_control("mean", record.board.error(record.training.constant(len(record.rows))))
