"""Detection and fuzzing of many descriptions by one judge, and whether its answers may be published at all.

First the positive control; a task whose control does not reach the threshold is not asked of any entry, and the reason
is kept. Balanced accuracy is the mean of the shares right among active and among inactive windows: a judge that always
says yes scores one half. A judge may be told how many of an entry's windows are active, never which. Left out: a
threshold per entry fitted to the truth, which would lend every description a little of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nlae.dictionary.judge.control import PLANTED, planted
from nlae.dictionary.judge.judgement import EQUAL, LEADER, PASSING, Judgement, Lead, Score
from nlae.dictionary.judge.prompts import NEUTRAL, OPTIONS, question, show
from nlae.dictionary.judge.protocol import Judge
from nlae.dictionary.judge.settings import JudgeSettings
from nlae.dictionary.judge.windows import Subject, Trial, Windows, draw_trials
from nlae.errors import NlaeError
from nlae.functional.bootstrap import MIN_CLUSTERS, ClusterBootstrap, Interval

logger = logging.getLogger(__name__)


def judge_entries(
    judge: Judge,
    subjects: Sequence[Subject],
    windows: Windows,
    settings: JudgeSettings | None = None,
    *,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Judgement:
    """Judge descriptions after the judge itself has been judged.

    Args:
        judge: who answers.
        subjects: descriptions with the truth about them; one key in several groups is shown the same windows.
        windows: of documents that chose nothing.
        settings: see `JudgeSettings`.
        cache: file that keeps answers of a judge that is slow or paid.
        progress: called with the number of questions just answered.

    Raises:
        NlaeError: the windows hold too few planted detectors.
    """
    settings = settings or JudgeSettings()
    control = planted(
        windows,
        count=settings.control,
        least=max(settings.quantiles * settings.per_quantile, settings.inactive),
        seed=settings.seed,
    )
    if sum(subject.group == PLANTED for subject in control) < 2:
        raise NlaeError(
            f"dictionary.judge: {len(windows)} windows hold no two planted detectors, so no judge can be tested; "
            "use a larger corpus"
        )
    result = Judgement({**judge.identity(), "tasks": list(settings.tasks)})
    for task in settings.tasks:
        _judge_task(judge, task, control, windows, settings, result, cache, progress)
        result.refused.update(_refusal(result, task, settings))
        if task in result.refused:
            logger.warning("%s is not published: %s", task, result.refused[task])
        else:
            _judge_task(judge, task, subjects, windows, settings, result, cache, progress)
    return result


def log_odds(
    judge: Judge,
    pairs: Sequence[tuple[str, str]],
    task: str,
    *,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Log-odds that each (description, text) fits, float32; NaN without an answer.

    Of a calibrated judge the odds are those beyond what it says of the same text under a neutral description: small
    models lean to one word or to some texts whatever they are asked.
    """
    asked = list(dict.fromkeys(pairs))
    neutral = list(dict.fromkeys((NEUTRAL, text) for _, text in asked)) if judge.calibrated else []
    questions = [question(description, text, task) for description, text in [*asked, *neutral]]
    belief = judge.choose(questions, OPTIONS, cache=cache, progress=progress).double().clamp_min(1e-30).log()
    odds = dict(zip([*asked, *neutral], (belief[:, 0] - belief[:, 1]).tolist(), strict=True))
    shift = {text: odds[NEUTRAL, text] for _, text in asked} if judge.calibrated else {}
    return torch.tensor([odds[pair] - shift.get(pair[1], 0.0) for pair in pairs])


def _judge_task(
    judge: Judge,
    task: str,
    subjects: Sequence[Subject],
    windows: Windows,
    settings: JudgeSettings,
    result: Judgement,
    cache: Path | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Ask one task of all subjects and add what follows to `result`."""
    shown: list[tuple[Subject, list[Trial]]] = []
    for subject in subjects:
        trials = draw_trials(
            subject,
            quantiles=settings.quantiles,
            per_quantile=settings.per_quantile,
            inactive=settings.inactive,
            seed=settings.seed,
        )
        if trials is not None:
            shown.append((subject, trials))
        elif task == settings.tasks[0]:
            result.skipped[subject.group] = result.skipped.get(subject.group, 0) + 1
    pairs = [
        (subject.description, show(windows.tokens[trial.window], trial, task))
        for subject, trials in shown
        for trial in trials
    ]
    if not pairs:
        return
    odds = log_odds(judge, pairs, task, cache=cache, progress=progress)
    answers = _Answers(windows, settings)
    for subject, trials in shown:
        own, odds = odds[: len(trials)], odds[len(trials) :]
        answers.add(subject, trials, own, half=judge.told_half)
    planted_ones = any(subject.group == PLANTED for subject, _ in shown)
    answers.summarise(task, result, result.control if planted_ones else result.groups, entries=not planted_ones)


def _refusal(result: Judgement, task: str, settings: JudgeSettings) -> dict[str, str]:
    """Why a task may not be published, by task; empty if it may."""
    true = result.control[task, PLANTED].value
    chance = result.control[task, f"{PLANTED}_shuffled"].value
    said = f"on planted detectors {true:.2f} (the same descriptions shuffled: {chance:.2f})"
    if true < settings.control_least:
        return {task: f"balanced accuracy {said} is below {settings.control_least:.2f}; choose a stronger judge"}
    if true - chance < settings.control_margin:
        return {task: f"balanced accuracy {said}: less than {settings.control_margin:.2f} apart, so it is mere bias"}
    return {}


class _Answers:
    """All answers of one task as columns."""

    def __init__(self, windows: Windows, settings: JudgeSettings) -> None:
        self.windows, self.settings = windows, settings
        self.right: list[float] = []
        self.active: list[bool] = []
        self.missing: list[bool] = []
        self.source: list[str] = []
        self.subject: list[Subject] = []

    def add(self, subject: Subject, trials: Sequence[Trial], odds: Tensor, *, half: bool) -> None:
        """Answers about one subject; `half`: the judge knows how many of them are active."""
        truth = torch.tensor([trial.active for trial in trials])
        known = odds[odds.isfinite()]
        # ranks decide then: as many yes as there are active windows
        line = known.quantile(1 - float(truth.float().mean())) if half and len(known) else torch.tensor(0.0)
        said = torch.where(odds == line, 0.5, (odds > line).to(odds.dtype))
        right = torch.where(truth, said, 1 - said)
        right = torch.where(odds.isfinite(), right, torch.tensor(0.5))
        self.right += right.tolist()
        self.active += truth.tolist()
        self.missing += (~odds.isfinite()).tolist()
        self.source += [self.windows.source[trial.window] for trial in trials]
        self.subject += [subject] * len(trials)

    def summarise(self, task: str, result: Judgement, pooled: dict[tuple[str, str], Score], *, entries: bool) -> None:
        """Pooled scores by group, of passing entries apart, and each entry's own."""
        for group in sorted({subject.group for subject in self.subject}):
            rows = [row for row, subject in enumerate(self.subject) if subject.group == group]
            pooled[task, group] = self._score(rows)
            passing = [row for row in rows if self.subject[row].passes]
            if passing and entries:
                pooled[task, group + PASSING] = self._score(passing)
            by_key: dict[str, list[int]] = {}
            for row in rows:
                by_key.setdefault(self.subject[row].key, []).append(row)
            for key, own in by_key.items():
                score = self._score(own, single=True)
                if entries:
                    result.entries[task, group, key] = score
                elif group == PLANTED:
                    result.detectors[task, key] = score.value
        if entries:
            self._leads(task, result)

    def _leads(self, task: str, result: Judgement) -> None:
        """How far each rival is exceeded on the entries that both have, of all and of those that passed."""
        value: dict[str, dict[str, float]] = {}
        for (asked, group, key), score in result.entries.items():
            if asked == task:
                value.setdefault(group, {})[key] = score.value
        drawn = {subject.key: subject.drawn for subject in self.subject}
        passed = {subject.key for subject in self.subject if subject.passes}
        rivals = sorted(set(value) - {LEADER, *EQUAL.values()})
        for rival in rivals:
            own, theirs = value.get(EQUAL.get(rival, LEADER), {}), value[rival]
            both = [key for key in own if key in theirs]
            for name, keys in ((rival, both), (rival + PASSING, [key for key in both if key in passed])):
                if keys:
                    gap = torch.tensor([own[key] - theirs[key] for key in keys], dtype=torch.float64)
                    bootstrap = ClusterBootstrap(
                        [drawn[key] for key in keys], self.settings.seed, self.settings.resamples
                    )
                    result.leads[task, name] = Lead(float(gap.mean()), bootstrap.mean(gap), len(keys))

    def _score(self, rows: Sequence[int], *, single: bool = False) -> Score:
        right = torch.tensor([self.right[row] for row in rows], dtype=torch.float64)
        active = torch.tensor([self.active[row] for row in rows])
        value = float((right[active].mean() + right[~active].mean()) / 2)

        sources, neurons = [self.source[row] for row in rows], [self.subject[row].drawn for row in rows]

        def interval(clusters: list[str]) -> Interval | None:
            if single or len(set(clusters)) < MIN_CLUSTERS:
                return None
            bootstrap = ClusterBootstrap(clusters, self.settings.seed, self.settings.resamples)
            return bootstrap.balanced_accuracy(right, active)

        unanswered = sum(self.missing[row] for row in rows)
        return Score(
            value,
            interval(sources),
            interval(neurons),
            len({self.subject[row].key for row in rows}),
            len(rows),
            unanswered,
        )
