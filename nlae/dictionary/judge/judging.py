"""How entries are judged. No torch is imported before they are: arguments are checked before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from nlae.dictionary.judge.questions import Judge
    from nlae.dictionary.judge.run import Judgement
    from nlae.dictionary.judge.trials import Subject, Windows

DETECTION, FUZZING = "detection", "fuzzing"
TASKS = (DETECTION, FUZZING)


@dataclass(frozen=True)
class Judging:
    """Judges descriptions after the judge itself has been judged.

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

    def ask(
        self,
        judge: Judge,
        subjects: Sequence[Subject],
        windows: Windows,
        *,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Judgement:
        """What a judge says of descriptions.

        Args:
            judge: who answers.
            subjects: words with the truth about them; those that fire or rest in too few windows are left out.
            windows: of works that chose nothing.
            cache: file that keeps answers of a judge that is slow or paid.
            progress: called with the number of questions just answered.

        Raises:
            NlaeError: the windows hold too few planted detectors.
        """
        from nlae.dictionary.judge.run import judge_entries

        return judge_entries(self, judge, subjects, windows, cache, progress)
