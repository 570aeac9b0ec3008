"""Settings of the scan. No torch here: they are built and checked before any model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from nlae.errors import NlaeError

PANELS = {"train": 8000, "select": 4000, "decide": 4000, "report": 4000}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """What is kept of the pass.

    Attributes:
        top: exemplars per neuron and sign.
        min_position: earlier token positions are left out of everything (massive early activations).
        window_tokens: tokens read at once, padding counted. Decoys are permuted within such a window, so this is part
            of the result, unlike `batch_tokens` elsewhere.
        panels: positions per split; those not named keep their default.
        per_passage: positions that a panel takes from one passage at most.
        checkpoint_every: windows between two states from which a killed scan goes on.
    """

    top: int = 16
    min_position: int = 8
    window_tokens: int = 4096
    panels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    per_passage: int = 8
    checkpoint_every: int = 8

    def __post_init__(self) -> None:
        """Refuse settings that no scan can satisfy."""
        for name in ("top", "window_tokens", "per_passage", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise NlaeError(f"dictionary.scan.{name}={getattr(self, name)} must be at least 1")
        if self.min_position < 0:
            raise NlaeError(f"dictionary.scan.min_position={self.min_position} is negative; positions count from 0")
        for role, rows in self.panels.items():
            if role not in PANELS:
                raise NlaeError(f"dictionary.scan.panels.{role}: unknown; choose among {', '.join(PANELS)}")
            if rows < 1:
                raise NlaeError(f"dictionary.scan.panels.{role}={rows} must be at least 1")

    def rows(self, role: str) -> int:
        """Positions wanted in one panel."""
        return int(self.panels.get(role, PANELS[role]))
