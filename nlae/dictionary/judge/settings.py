"""How entries are judged. No torch here: settings are built and checked before any model is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from nlae.errors import NlaeError

DETECTION, FUZZING = "detection", "fuzzing"
TASKS = (DETECTION, FUZZING)


@dataclass(frozen=True)
class JudgeSettings:
    """How entries are judged.

    Attributes:
        tasks: of `detection` and `fuzzing`.
        quantiles, per_quantile, inactive: windows per entry; see `trials.draw_trials`.
        control: number of planted detectors.
        control_least: mean AUROC that the planted detectors must reach.
        control_margin: and by how much it must exceed the same descriptions shuffled.
        seed: of windows and resamples; a dictionary puts its own here.
        resamples: of the bootstrap.
    """

    tasks: tuple[str, ...] = TASKS
    quantiles: int = 5
    per_quantile: int = 2
    inactive: int = 10
    control: int = 32
    control_least: float = 0.7
    control_margin: float = 0.15
    seed: int = 0
    resamples: int = 2000

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown:
            raise NlaeError(f"dictionary.judging.tasks: {unknown[0]!r} is unknown; choose among {', '.join(TASKS)}")
        if min(self.quantiles, self.per_quantile, self.inactive) < 1:
            raise NlaeError("dictionary.judging: quantiles, per_quantile and inactive must be at least 1")
