"""How long a reader is trained that stands beside the autoencoder's own: as is set, else as long as that one was."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

DEFAULT_BATCH, DEFAULT_LR = 32, 5e-4


@dataclasses.dataclass(frozen=True)
class ReaderBudget:
    """A fit of a reader.

    Attributes:
        updates: optimizer steps.
        batch_size: texts a step.
        lr: learning rate.
    """

    updates: int
    batch_size: int
    lr: float


def reader_budget(
    meta: Mapping[str, Any], updates: int | None, batch_size: int | None, lr: float | None
) -> ReaderBudget | None:
    """What is set, else what the checkpoint's reconstructor had.

    None when neither gives a number of updates; a batch size or rate that is missing takes the package's default.
    """
    training = meta.get("training") or {}
    # the reconstructor learns in every stage
    updates = updates or sum(int(count) for count in (training.get("updates") or {}).values())
    if not updates:
        return None
    batch = batch_size or training.get("batch") or DEFAULT_BATCH
    return ReaderBudget(updates, int(batch), float(lr or training.get("lr") or DEFAULT_LR))
