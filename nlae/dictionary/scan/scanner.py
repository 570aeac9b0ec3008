"""What a scan keeps. No torch is imported here before it runs, so that a scanner is named in no time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from nlae.corpus import Corpus
    from nlae.target import Target
    from nlae.tracking import Run

PANELS = {"train": 48000, "select": 12000, "bar": 12000, "test": 24000}
RUNS = {"train": 1, "select": 8, "bar": 8, "test": 32}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scanner:
    """Reads a corpus once for all MLP neurons of a target."""

    top: int = 16  # exemplars per neuron and sign
    min_position: int = 8  # earlier token positions are left out of everything (massive early activations)
    window_tokens: int = 4096  # tokens read at once, padding counted: memory and speed, and never the result
    # positions per role at most, and how many of them are consecutive; a role that is not named keeps its default
    panels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    runs: Mapping[str, int] = dataclasses.field(default_factory=dict)
    per_passage: int = 8  # positions that a panel takes from one passage at most, but always one run
    checkpoint_every: int = 8  # windows between two states from which a killed scan goes on

    def __post_init__(self) -> None:
        """Refuse panels that there are not; the range of each number is the config's business (`config.ranges`)."""
        for name, counts in (("panels", self.panels), ("runs", self.runs)):
            if unknown := sorted(set(counts) - set(PANELS)):
                raise NlaeError(f"dictionary.scan.{name}.{unknown[0]}: unknown; choose among {', '.join(PANELS)}")

    def rows(self, role: str) -> int:
        """Positions wanted in one panel."""
        return int(self.panels.get(role, PANELS[role]))

    def run(self, role: str) -> int:
        """Consecutive positions of one panel that are taken together."""
        return int(self.runs.get(role, RUNS[role]))

    def scan(
        self, target: Target, corpus: Corpus, folder: Path, *, seed: int = 0, run: Run | None = None
    ) -> dict[str, float]:
        """Scan into `folder` what `Scan.open` reads, going on where a killed scan stopped; returns counts.

        Panels are drawn with `seed`, and `run` receives progress.

        Raises:
            NlaeError: a split has too little text, an activation is not finite, or the disk is full.
        """
        from nlae.dictionary.scan.scanning import scan

        return scan(self, target, corpus, Path(folder), seed, run)
