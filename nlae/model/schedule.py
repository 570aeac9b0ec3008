"""Learning rates over a fit: a function of the update alone, so that a resume needs no state."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Linear rise, then linear fall.

    Attributes:
        updates: in all.
        warmup: updates of the rise.
        decay: share of the peak that is left at the last update.
    """

    updates: int
    warmup: int = 10
    decay: float = 0.1

    def factor(self, update: int) -> float:
        """Share of the peak at 0-based `update`."""
        rise = min(1.0, (update + 1) / max(1, self.warmup))
        fall = 1 - (1 - self.decay) * update / max(1, self.updates)
        return rise * fall
