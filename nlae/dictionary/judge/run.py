"""Detection and fuzzing of many descriptions by one judge, and whether its answers may be published at all.

First the positive control: a task whose planted detectors are not told apart is asked of no entry. An entry's score is
the AUROC of the judge's odds over its windows, ties half; of a judge that says only yes or no it is the balanced
accuracy. Groups are means over entries, with intervals over neurons, both signs drawn as one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from nlae.dictionary.judge.control import PLANTED, SHUFFLED, planted
from nlae.dictionary.judge.judging import Judging
from nlae.dictionary.judge.questions import Judge, Question, show
from nlae.dictionary.judge.trials import Subject, Windows, draw_trials
from nlae.dictionary.score.ranks import auroc_own, average_ranks
from nlae.errors import NlaeError
from nlae.functional.bootstrap import ClusterBootstrap

logger = logging.getLogger(__name__)
Group = tuple[str, str]
_PASSING = "_passing"


@dataclass
class Judgement:
    """What a judge said.

    Attributes:
        judge: its identity.
        settings: how it was asked.
        control: AUROC by (task, group) and detector, of the planted ones.
        entries: AUROC by (task, group) and entry; groups of passing entries end in `_passing`.
        refused: by task, why nothing is published.
        unanswered: by task, questions without an answer; they count as undecided.
    """

    judge: dict[str, Any]
    settings: Judging
    control: dict[Group, dict[str, float]] = field(default_factory=dict)
    entries: dict[Group, dict[str, float]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unanswered: dict[str, int] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """`judge/<task>/<group>` with `_entries` and, with 30 neurons or more, `_low` and `_high`."""
        flat = {f"judge/{task}/published": float(task not in self.refused) for task, _ in self.control}
        for (task, group), scores in sorted((self.control | self.entries).items()):
            flat |= summary(f"judge/{task}/{group}", scores, self.settings.seed, self.settings.resamples)
        return flat

    def notes(self, windows: Windows) -> dict[str, Any]:
        """For whoever wants to know how the numbers came about."""
        detectors = {
            f"{task}: {key}": v for (task, g), s in self.control.items() if g == PLANTED for key, v in s.items()
        }
        seen = {"windows": len(windows.tokens), "works": len(set(windows.source))}
        return {
            "judge": self.judge,
            "refused": self.refused,
            "unanswered": self.unanswered,
            **seen,
            "control": detectors,
        }


def summary(name: str, scores: Mapping[str, float], seed: int, resamples: int = 2000) -> dict[str, float]:
    """Mean of the scores of entries, their number and, with 30 neurons or more, its interval; nothing of nobody."""
    if not scores:
        return {}
    flat = {name: fmean(scores.values()), f"{name}_entries": float(len(scores))}
    bootstrap = ClusterBootstrap([key.rstrip("+-") for key in scores], seed, resamples)
    if interval := bootstrap.mean(torch.tensor(list(scores.values()), dtype=torch.float64)):
        flat[f"{name}_low"], flat[f"{name}_high"] = interval
    return flat


def judge_entries(
    settings: Judging,
    judge: Judge,
    subjects: Sequence[Subject],
    windows: Windows,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Judgement:
    """See `Judging.ask`."""
    least = max(settings.quantiles * settings.per_quantile, settings.inactive)
    control = planted(windows, count=settings.control, least=least, seed=settings.seed)
    if not control:
        raise NlaeError(
            f"dictionary.judge: {len(windows.ids_WT)} windows hold no two planted detectors, so no judge can be tested;"
            " use a larger corpus"
        )
    result = Judgement(judge.identity(), settings)

    def ask(task: str, asked: Sequence[Subject]) -> dict[Group, dict[str, float]]:
        return _ask(judge, task, asked, windows, result, cache, progress)

    for task in settings.tasks:
        result.control |= ask(task, control)
        true, chance = (fmean(result.control[task, group].values()) for group in (PLANTED, SHUFFLED))
        if true < settings.control_least or true - chance < settings.control_margin:
            result.refused[task] = (
                f"planted detectors {true:.2f}, with each other's descriptions {chance:.2f}, where at least "
                f"{settings.control_least:.2f} and {settings.control_margin:.2f} more is asked; choose a stronger judge"
            )
            logger.warning("%s is not published: %s", task, result.refused[task])
        else:
            result.entries |= ask(task, subjects)
    return result


def _ask(
    judge: Judge,
    task: str,
    subjects: Sequence[Subject],
    windows: Windows,
    result: Judgement,
    cache: Path | None,
    progress: Callable[[int], None] | None,
) -> dict[Group, dict[str, float]]:
    """AUROC by (task, group) and key."""
    s = result.settings
    counts = {"quantiles": s.quantiles, "per_quantile": s.per_quantile, "inactive": s.inactive, "seed": s.seed}
    drawn = [(subject, trials) for subject in subjects if (trials := draw_trials(subject, **counts))]
    if not drawn:
        return {}
    questions = [
        Question(subject.description, show(windows.tokens[trial.window], trial.marked, task), task)
        for subject, trials in drawn
        for trial in trials
    ]
    odds_Q = judge.odds(questions, cache=cache, progress=progress)
    result.unanswered[task] = result.unanswered.get(task, 0) + int(odds_Q.isnan().sum())
    odds_EQ = odds_Q.nan_to_num(0.0).view(len(drawn), -1)
    active_EQ = torch.tensor([[trial.active for trial in trials] for _, trials in drawn])
    found: dict[Group, dict[str, float]] = {}
    for (subject, _), score in zip(drawn, auroc_own(average_ranks(odds_EQ), active_EQ).tolist(), strict=True):
        for group in (subject.group, *([subject.group + _PASSING] if subject.passes else [])):
            found.setdefault((task, group), {})[subject.key] = score
    return found
