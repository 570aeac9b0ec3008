"""Judges of known ability: what they score follows from what they know, and bad ones get nothing published."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nlae.dictionary.judge import JudgeSettings, Question, Subject, Windows, judge_entries
from nlae.dictionary.judge.control import PLANTED, SHUFFLED, planted
from nlae.dictionary.judge.prompts import NEUTRAL, question, show
from nlae.dictionary.judge.run import _Answers, log_odds
from nlae.dictionary.judge.windows import Trial, draw_trials
from nlae.errors import NlaeError
from nlae.functional.randomness import generator

WORDS = ["river", "treaty", "engine", "glacier", "lantern", "verdict", "harvest", "orchestra", "enzyme", "parliament"]
SMALL = JudgeSettings(quantiles=5, per_quantile=2, inactive=10, control=8, resamples=200)


@pytest.fixture(scope="module")
def windows() -> Windows:
    """400 windows of 8 words, each word in a fifth or so of them, from 60 source works."""
    source = generator(0, "windows of a test")
    ids_WT = torch.randint(40, (400, 8), generator=source)
    names = WORDS + [f"filler{chr(97 + n // 6)}{chr(97 + n % 6)}" for n in range(30)]
    tokens = tuple(tuple(f" {names[int(n)]}" for n in row) for row in ids_WT)
    return Windows(ids_WT, tokens, tuple(f"work {n % 60}" for n in range(400)), {}, {})


def detector(windows: Windows, word: str) -> Tensor:
    return torch.tensor([[float(token.strip() == word) for token in row] for row in windows.tokens])


class KnownJudge:
    """Says yes where the described word occurs (or is marked), with a given share of flipped answers."""

    name = "known"
    calibrated = False
    told_half = False

    def __init__(self, flips: float = 0.0, silent: float = 0.0, always: float | None = None) -> None:
        self.flips, self.silent, self.always = flips, silent, always
        self.asked: list[Question] = []

    def identity(self) -> dict[str, Any]:
        return {"judge": self.name}

    def choose(
        self,
        questions: Sequence[Question],
        options: Sequence[str],
        *,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        self.asked += questions
        rows = []
        for number, asked in enumerate(questions):
            word = re.sub(r"the word “(.*)”", r"\1", asked.description)
            marked = " ".join(re.findall("«(.*?)»", asked.shown)) if "«" in asked.shown else asked.shown
            yes = float(word in marked.split()) if self.always is None else self.always
            chance = float(torch.rand((), generator=generator("flip", number, asked.text)))
            yes = 1 - yes if chance < self.flips else yes
            rows.append([torch.nan] * 2 if chance > 1 - self.silent else [yes, 1 - yes])
        return torch.tensor(rows)


def subjects(windows: Windows) -> list[Subject]:
    ours = [Subject(f"0.{n}+", "ours", f"the word “{w}”", detector(windows, w), 0.5) for n, w in enumerate(WORDS)]
    wrong = [
        Subject(s.key, "wrong", ours[(n + 1) % len(ours)].description, s.activation_WT, 0.5) for n, s in enumerate(ours)
    ]
    return ours + wrong


@pytest.mark.parametrize("task", ["detection", "fuzzing"])
def test_a_judge_that_knows_scores_one_and_wrong_descriptions_score_chance(windows, task):
    result = judge_entries(KnownJudge(), subjects(windows), windows, SMALL)
    assert result.refused == {}
    assert result.control[task, PLANTED].value == 1.0
    assert {value for (asked, _), value in result.detectors.items() if asked == task} == {1.0}
    assert result.groups[task, "ours"].value == 1.0
    assert result.score(task, "ours", "0.3+") == 1.0
    assert abs(result.groups[task, "wrong"].value - 0.5) < 0.08
    low, high = result.groups[task, "wrong"].by_source or (0.0, 0.0)
    assert low < result.groups[task, "wrong"].value < high
    assert result.groups[task, "wrong"].interval is None  # ten entries say little of others
    assert result.metrics()[f"judge/{task}/ours"] == 1.0
    assert result.metrics()[f"judge/{task}/ours_entries"] == len(WORDS)
    assert result.metrics()[f"judge/{task}/published"] == 1.0


@pytest.mark.parametrize(
    ("judge", "said"),
    [(KnownJudge(always=1.0), "below 0.70"), (KnownJudge(flips=0.4), "below 0.70")],
    ids=["always yes", "mostly guessing"],
)
def test_a_judge_that_fails_the_control_publishes_nothing(windows, judge, said):
    result = judge_entries(judge, subjects(windows), windows, SMALL)
    assert set(result.refused) == {"detection", "fuzzing"}
    assert said in result.refused["detection"]
    assert result.groups == {}
    assert result.score("detection", "ours", "0.0+") is None
    assert result.metrics()["judge/detection/published"] == 0.0
    asked = {question.description for question in judge.asked}
    assert asked <= {subject.description for subject in planted(windows, count=8)}  # no entry was asked about


def test_missing_answers_count_half(windows):
    result = judge_entries(KnownJudge(silent=0.2), subjects(windows), windows, SMALL)
    score = result.groups["detection", "ours"]
    assert score.unanswered > 0
    assert score.value == pytest.approx(1 - 0.5 * score.unanswered / score.trials, abs=0.02)


def test_passing_entries_are_pooled_apart(windows):
    given = subjects(windows)
    given[0] = Subject(given[0].key, "ours", given[0].description, given[0].activation_WT, 0.5, passes=True)
    result = judge_entries(KnownJudge(), given, windows, SMALL)
    assert result.groups["detection", "ours/passing"].trials == 20


def test_a_group_is_compared_with_its_rivals_on_the_entries_that_both_have(windows):
    ours, wrong = subjects(windows)[: len(WORDS)], subjects(windows)[len(WORDS) :]
    ours[0] = dataclasses.replace(ours[0], passes=True)
    wrong[0] = dataclasses.replace(wrong[0], passes=True)
    result = judge_entries(KnownJudge(), [*ours, *wrong[:4]], windows, SMALL)
    lead = result.leads["detection", "wrong"]
    gaps = [1 - (result.score("detection", "wrong", subject.key) or 0.0) for subject in wrong[:4]]
    assert lead.entries == 4
    assert lead.value == pytest.approx(sum(gaps) / 4)
    assert lead.interval is None  # of four entries
    assert result.leads["detection", "wrong/passing"].value == pytest.approx(gaps[0])
    flat = result.metrics()
    assert flat["judge/detection/ours_lead_over_wrong"] == pytest.approx(sum(gaps) / 4)
    assert flat["judge/detection/ours_passing_entries"] == 1.0


def test_key_words_are_led_over_by_as_many_texts_and_by_nothing_else(windows):
    given = subjects(windows)
    ours, wrong = given[: len(WORDS)], given[len(WORDS) :]
    key_words = [dataclasses.replace(subject, group="context_only") for subject in ours]
    best = [dataclasses.replace(subject, group="ours") for subject in key_words]  # the best candidate is key words
    texts = [dataclasses.replace(subject, group="verbalized", passes=subject.key == "0.0+") for subject in wrong]
    result = judge_entries(KnownJudge(), [*best, *texts, *key_words], windows, SMALL)
    flat = result.metrics()
    expected = result.groups["detection", "verbalized"].value - 1
    assert expected < -0.4
    assert flat["judge/detection/verbalized_lead_over_context_only"] == pytest.approx(expected)
    assert flat["judge/detection/verbalized_lead_over_context_only_passing_entries"] == 1
    assert not any("ours_lead_over" in name for name in flat)


def test_thirty_entries_have_an_interval_whatever_the_number_of_works(windows):
    one_work = dataclasses.replace(windows, source=("a",) * len(windows))
    given = [
        dataclasses.replace(subject, key=f"{subject.key}.{again}")
        for again in range(3)
        for subject in subjects(windows)
        if subject.group == "wrong"
    ]
    ours = [dataclasses.replace(s, group="ours", description=f"the word “{WORDS[0]}”") for s in given]
    flat = judge_entries(KnownJudge(flips=0.1), [*given, *ours], one_work, SMALL).metrics()
    for name in ("wrong", "ours_lead_over_wrong"):
        low, value, high = (flat[f"judge/detection/{name}{end}"] for end in ("_low", "", "_high"))
        assert low < value < high < low + 0.3


@pytest.mark.parametrize("neurons", [15, 29, 30])
def test_both_signs_of_a_neuron_are_one_draw(windows, neurons):
    ours = subjects(windows)[: len(WORDS)]
    given = [
        dataclasses.replace(ours[n % len(ours)], key=f"0.{n}{sign}", neuron=f"0.{n}", group=group)
        for n in range(neurons)
        for sign in "+-"
        for group in ("ours", "rival")
    ]
    flat = judge_entries(KnownJudge(flips=0.1), given, windows, SMALL).metrics()
    for name in ("ours", "ours_lead_over_rival"):
        assert flat[f"judge/detection/{name}_entries"] == 2 * neurons
        assert (f"judge/detection/{name}_low" in flat) == (neurons == 30)


def test_two_signs_alike_leave_the_interval_as_wide_as_one(windows):
    ours = [
        dataclasses.replace(subject, key=f"{again}.{n}+", neuron=f"{again}.{n}")
        for again in range(4)
        for n, subject in enumerate(subjects(windows)[: len(WORDS)])
    ]
    answers = {}
    for name, given in (("one", ours), ("both", [*ours, *ours])):
        columns = _Answers(windows, SMALL)
        for number, subject in enumerate(given):
            known = generator("answers", number % len(ours))
            odds = torch.rand(20, generator=known) - 0.3
            key = subject.key if number < len(ours) else subject.key.replace("+", "-")
            trials = [Trial(n, n < 10, (), -1) for n in range(20)]
            columns.add(dataclasses.replace(subject, key=key), trials, odds, half=False)
        answers[name] = columns._score(range(20 * len(given)))
    assert answers["one"].by_entry == pytest.approx(answers["both"].by_entry)
    assert (answers["one"].entries, answers["both"].entries) == (len(ours), 2 * len(ours))


def test_an_entry_that_fires_too_rarely_is_skipped_not_scored(windows):
    rare = Subject("0.99+", "ours", "the word “river”", torch.zeros(400, 8), 0.5)
    result = judge_entries(KnownJudge(), [*subjects(windows), rare], windows, SMALL)
    assert result.skipped == {"ours": 1}
    assert result.score("detection", "ours", "0.99+") is None


def test_no_judge_without_planted_detectors():
    ids_WT = torch.arange(160).view(20, 8)
    tokens = tuple(tuple(f" {chr(97 + int(n) % 26)}{int(n)}" for n in row) for row in ids_WT)
    with pytest.raises(NlaeError, match="no two planted detectors"):
        judge_entries(KnownJudge(), [], Windows(ids_WT, tokens, ("a",) * 20, {}, {}), SMALL)


def test_planted_detectors_fire_where_they_say(windows):
    found = planted(windows, count=8)
    true = [subject for subject in found if subject.group == PLANTED]
    shuffled = [subject for subject in found if subject.group == SHUFFLED]
    assert len(true) == len(shuffled) == 8
    for subject, other in zip(true, shuffled, strict=True):
        word = re.sub(r"the word “(.*)”", r"\1", subject.description)
        assert torch.equal(subject.activation_WT, detector(windows, word))
        assert other.description != subject.description
        assert torch.equal(other.activation_WT, subject.activation_WT)


def test_trials_cover_the_range_and_are_the_same_for_every_description():
    peak = torch.arange(100.0)
    activation_WT = torch.zeros(100, 4)
    activation_WT[:, 2] = peak
    subject = Subject("1.2+", "ours", "a", activation_WT, 49.5)
    trials = draw_trials(subject, quantiles=5, per_quantile=2, inactive=10, seed=0)
    assert trials is not None
    for quantile in range(5):
        own = [trial.window for trial in trials if trial.quantile == quantile]
        assert len(own) == 2
        assert all(90 - 10 * quantile <= window < 100 - 10 * quantile for window in own)
    assert all((trial.window > 49) == trial.active for trial in trials)
    assert all(trial.marked == (2,) for trial in trials if trial.active)
    assert {len(trial.marked) for trial in trials if not trial.active} == {1}
    other = Subject("1.2+", "token_list", "b", activation_WT, 49.5)
    assert draw_trials(other, quantiles=5, per_quantile=2, inactive=10, seed=0) == trials
    assert draw_trials(subject, quantiles=30, per_quantile=2, inactive=10, seed=0) is None


def test_a_calibrated_judge_is_freed_of_its_leaning(windows):
    class Leaning(KnownJudge):
        calibrated = True

        def choose(self, questions: Sequence[Question], options: Sequence[str], **more: Any) -> Tensor:
            fits = super().choose(questions, options)[:, 0]
            yes = (2 * fits + 4 * torch.tensor(["river" in q.shown for q in questions]).float() + 3).sigmoid()
            return torch.stack([yes, 1 - yes], 1)

    pairs = [("the word “treaty”", "a river treaty"), ("the word “treaty”", "a river"), ("the word “treaty”", "a hill")]
    judge = Leaning()
    odds = log_odds(judge, pairs, "detection")
    assert odds.tolist() == pytest.approx([2.0, 0.0, 0.0], abs=1e-4)
    assert sum(asked.description == NEUTRAL for asked in judge.asked) == 3


def test_marks_are_shown_once_around_neighbours_and_never_taken_from_the_text():
    tokens = (" the", " old", " har", "bour", " «gate»")
    trial = Trial(0, True, (2, 3), 0)
    assert show(tokens, trial, "fuzzing") == "the old «harbour» gate"
    assert show(tokens, trial, "detection") == "the old harbour gate"
    asked = question("names of places", "in «Rome»", "fuzzing")
    assert [turn["role"] for turn in asked.turns()] == ["user", "assistant"] * 4 + ["user"]
    assert asked.flat().endswith(asked.text)


@pytest.mark.parametrize("settings", [{"tasks": ("guessing",)}, {"inactive": 0}], ids=["task", "count"])
def test_settings_are_checked(settings):
    with pytest.raises(NlaeError, match="dictionary.judging"):
        JudgeSettings(**settings)
