"""What the reader says when it is told nothing."""

from __future__ import annotations

from nlae.evaluation.record import EvaluationRecord


class Empty:
    """`control/empty`: what the reconstructor itself makes of empty text, for every row.

    Elsewhere an empty text counts as μ/‖μ‖. A reader that has learned the mean, and not to read, scores here what it
    scores on the explanations.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        if record.empty_D is None:
            record.board.note("no control/empty: this autoencoder does not show what it makes of empty text")
            return
        record.put_control("empty", record.board.error(record.empty_D.expand(len(record.rows), -1)))
