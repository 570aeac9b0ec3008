"""The figures that everything else stands beside: no evaluation is without them."""

from __future__ import annotations

import torch

from nlae.evaluation.record import EvaluationRecord
from nlae.functional.reconstruction import explained


def headline(record: EvaluationRecord) -> None:
    """Put `fve`, and the same for early and massive positions; `rows`, `clusters`, `cosine_mean`, `closed_rate`."""
    board, main_N = record.board, record.main_N
    if not board.is_fve:
        board.note(
            "no FVE: the checkpoint has no training mean, so cosines are shown; they compare within one model only"
        )
    board.put("rows", int(main_N.sum()))
    board.note_clusters(main_N)
    board.add("fve", record.error_N, main_N)
    for name, keep_N in (("early", ~main_N), ("massive", record.massive_N)):
        board.put(f"{name}/rows", int(keep_N.sum()))
        if keep_N.any():
            board.add(f"{name}/fve", record.error_N, keep_N)
    board.put("cosine_mean", float(explained(record.error_N[main_N].mean(), 2)))
    closed_N = torch.tensor([one.closed for one in record.explanations], dtype=torch.float64)
    board.put("closed_rate", float(closed_N[main_N].mean()))
