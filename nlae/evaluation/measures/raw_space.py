"""The round trip of raw activations, norms included."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlae.evaluation.record import EvaluationRecord
from nlae.functional.reconstruction import fit_scale, squared_error


class RawSpace:
    """`raw_r2`: 1 − Σ‖h−h'‖² / Σ‖h−m‖², m the mean raw training vector, h' = norm·ĥ'.

    The norm is the magnitude head's, else one scalar: the least-squares fit on training rows, explained and read like
    the test rows. Massive rows weigh most here, as they do in raw space.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, raw_ND, main_N = record.board, record.raw_ND.double(), record.main_N
        norm_N1 = _predicted_norm(record)
        if norm_N1 is None:
            rows = record.choose("train", record.fit_rows)
            pred_ND = record.read([one.text for one in record.write(rows, "training")], "training")
            scale = fit_scale(pred_ND, rows.all())
            board.put("raw_scale", scale)
            norm_N1 = torch.full((len(raw_ND), 1), scale, dtype=torch.float64)
        error_N = squared_error(norm_N1 * record.pred_ND.double(), raw_ND)
        total_N = squared_error(record.training.raw_mean_D.expand_as(raw_ND), raw_ND)
        board.add_ratio("raw_r2", error_N, total_N, main_N)


def _predicted_norm(record: EvaluationRecord) -> Tensor | None:
    """The magnitude head's ‖h‖ for each explanation [N, 1], or None."""
    head: Any = getattr(record.autoencoder, "reconstruct_norm", None)
    # asked about one text first: without a head the answer is None whatever the text
    if head is None or head(record.texts[:1]) is None:
        return None
    size, texts = record.batch_size, record.texts
    parts = [head(texts[start : start + size]) for start in range(0, len(texts), size)]
    return torch.cat(parts).double().cpu().reshape(-1, 1)
