"""The place of the own activation among others."""

from __future__ import annotations

import torch

from nlae.errors import NlaeError
from nlae.evaluation.record import EvaluationRecord
from nlae.evaluation.sampling import others
from nlae.functional.reconstruction import rank

BATCH = 256


class Rank:
    """`rank_median`: place of a row's activation among others of the measured rows, by distance to its reconstruction.

    Early rows have none. `rank_others` is how many others there are.

    Args:
        others: activations that a rank is taken among.
    """

    def __init__(self, others: int = 100) -> None:
        if others < 1:
            raise NlaeError(f"evaluation.measures.rank.others is {others}; it must be at least 1")
        self.others = others

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        main_N, board = record.main_N, record.board
        truth_ND, pred_ND = board.truth_ND[main_N], record.pred_ND[main_N]
        other_NM = torch.from_numpy(others(len(truth_ND), self.others, record.sample_seed))
        rank_N = torch.full((len(main_N),), float("nan"), dtype=torch.float64)
        parts = [slice(start, start + BATCH) for start in range(0, len(truth_ND), BATCH)]
        rank_N[main_N] = torch.cat([rank(pred_ND[p], truth_ND[p], truth_ND[other_NM[p]]) for p in parts])
        record.columns["rank"] = rank_N.numpy()
        board.put("rank_median", float(rank_N[main_N].quantile(0.5)))
        board.put("rank_others", other_NM.shape[1])
