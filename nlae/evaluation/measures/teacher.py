"""What our reconstructor makes of the teacher's own text of the test rows."""

from __future__ import annotations

import torch

from nlae.evaluation.record import EvaluationRecord


class Teacher:
    """`control/teacher`, on the rows that the teacher has described (`control/teacher_rows`)."""

    costly = True

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, descriptions = record.board, record.descriptions
        if descriptions is None:
            board.note("no control/teacher: no teacher has described these rows")
            return
        numbers = [int(number) for number in record.rows.row]
        texts = [descriptions.text(number) if number in descriptions else None for number in numbers]
        described_N = torch.tensor([text is not None for text in texts])
        lacking = int((record.main_N & ~described_N).sum())
        if lacking:
            board.note(f"control/teacher leaves out {lacking} rows that the teacher has not described")
        has_N = described_N & record.main_N
        record.columns["teacher"] = texts
        board.put("control/teacher_rows", int(has_N.sum()))
        if has_N.any():
            read_ND = record.read([text or "" for text in texts], "teacher")
            record.put_control("teacher", board.error(read_ND), has_N)
