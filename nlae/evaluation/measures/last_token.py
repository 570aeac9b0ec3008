"""What the last token alone tells."""

from __future__ import annotations

from nlae.evaluation.record import EvaluationRecord


class LastToken:
    """`control/last_token`: the mean of the training unit vectors at the row's token id.

    `control/last_token_seen` is the share of rows whose token was seen in training; the others get μ/‖μ‖.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        table_ND, seen_N = record.training.last_token(record.rows.token_id)
        record.put_control("last_token", record.board.error(table_ND))
        record.board.put("control/last_token_seen", float(seen_N[record.main_N].double().mean()))
