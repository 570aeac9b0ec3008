"""Settings of the scan. No torch here: they are built and checked before any model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from nlae.errors import NlaeError

PANELS = {"train": 48000, "select": 12000, "bar": 12000, "test": 24000}
RUNS = {"train": 1, "select": 8, "bar": 8, "test": 32}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """What is kept of the pass.

    Attributes:
        top: exemplars per neuron and sign.
        min_position: earlier token positions are left out of everything (massive early activations).
        window_tokens: tokens read at once, padding counted: memory and speed, and never the result.
        panels: positions per role at most; those not named keep their default.
        runs: consecutive positions that a panel takes together; those not named keep their default.
        per_passage: positions that a panel takes from one passage at most, but always one run.
        checkpoint_every: windows between two states from which a killed scan goes on.
    """

    top: int = 16
    min_position: int = 8
    window_tokens: int = 4096
    panels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    runs: Mapping[str, int] = dataclasses.field(default_factory=dict)
    per_passage: int = 8
    checkpoint_every: int = 8

    def __post_init__(self) -> None:
        """Refuse settings that no scan can satisfy."""
        for name in ("top", "window_tokens", "per_passage", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise NlaeError(f"dictionary.scan.{name}={getattr(self, name)} must be at least 1")
        if self.min_position < 0:
            raise NlaeError(f"dictionary.scan.min_position={self.min_position} is negative; positions count from 0")
        for name in ("panels", "runs"):
            for role, count in getattr(self, name).items():
                if role not in PANELS:
                    raise NlaeError(f"dictionary.scan.{name}.{role}: unknown; choose among {', '.join(PANELS)}")
                if count < 1:
                    raise NlaeError(f"dictionary.scan.{name}.{role}={count} must be at least 1")

    def rows(self, role: str) -> int:
        """Positions wanted in one panel."""
        return int(self.panels.get(role, PANELS[role]))

    def run(self, role: str) -> int:
        """Consecutive positions of one panel that are taken together."""
        return int(self.runs.get(role, RUNS[role]))
