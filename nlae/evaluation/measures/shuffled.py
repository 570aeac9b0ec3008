"""Each reconstruction against another row's activation."""

from __future__ import annotations

import numpy as np
import torch

from nlae.evaluation.record import EvaluationRecord
from nlae.evaluation.sampling import derangement


class Shuffled:
    """`control/shuffled`: each reconstruction held against a row of another document, of another source work if it can.

    A document of the store is a passage, so rows of one work may continue each other. About −1 for a good model.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        main = np.flatnonzero(record.main_N.numpy())
        rows, seed = record.rows, record.sample_seed
        partner = derangement(rows.source[main].astype(str), seed)
        if partner is None:
            partner = derangement(rows.document[main], seed)
            record.board.note("one source work holds most measured rows: control/shuffled pairs passages within it")
        if partner is None:
            record.board.note("no control/shuffled: one document holds more than half of the measured rows")
            return
        pairing = np.arange(len(rows))
        pairing[main] = main[partner]
        record.put_control("shuffled", record.board.error(record.pred_ND[torch.from_numpy(pairing)]))
