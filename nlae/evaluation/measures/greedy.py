"""The likeliest explanation in place of a sampled one."""

from __future__ import annotations

from nlae.evaluation.record import EvaluationRecord


class Greedy:
    """`fve_greedy`: the round trip through greedy text."""

    costly = True

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        texts = [one.text for one in record.write(record.rows, "greedy", temperature=0.0)]
        record.errors["greedy"] = record.board.error(record.read(texts, "greedy"))
        record.columns["explanation_greedy"] = texts
        record.board.add("fve_greedy", record.errors["greedy"], record.main_N)
