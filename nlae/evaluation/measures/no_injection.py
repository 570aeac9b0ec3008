"""What fluent guessing alone is worth."""

from __future__ import annotations

import numpy as np
import torch

from nlae.errors import NlaeError
from nlae.evaluation.record import EvaluationRecord


class NoInjection:
    """`control/no_injection`: explanations written with the marker's own embedding in the slot.

    The prompt is then the same for every row, so these texts are one distribution, and rows share them in turn.

    Args:
        samples: texts drawn.
    """

    costly = True

    def __init__(self, samples: int = 64) -> None:
        if samples < 1:
            raise NlaeError(f"evaluation.measures.no_injection.samples is {samples}; it must be at least 1")
        self.samples = samples

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        count = min(self.samples, len(record.rows))
        said = record.write(record.rows.select(np.arange(count)), "no_injection", inject=False)
        pred_MD = record.read([one.text for one in said], "no injection")
        record.put_control("no_injection", record.board.error(pred_MD[torch.arange(len(record.rows)) % count]))
