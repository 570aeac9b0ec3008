"""Judges of known ability: what they score follows from what they know, and bad ones get nothing published."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nlae.dictionary.judge.control import PLANTED, SHUFFLED, planted
from nlae.dictionary.judge.judging import Judging
from nlae.dictionary.judge.questions import Question, show
from nlae.dictionary.judge.trials import Subject, Windows, draw_trials
from nlae.errors import NlaeError
from nlae.functional.randomness import generator

WORDS = ["river", "treaty", "engine", "glacier", "lantern", "verdict", "harvest", "orchestra", "enzyme", "parliament"]
SMALL = Judging(quantiles=5, per_quantile=2, inactive=10, control=8, resamples=200)


@pytest.fixture(scope="module")
def windows() -> Windows:
    """400 windows of 8 words, each word in a fifth or so of them."""
    ids_WT = torch.randint(40, (400, 8), generator=generator(0, "windows of a test"))
    names = WORDS + [f"filler{chr(97 + n // 6)}{chr(97 + n % 6)}" for n in range(30)]
    tokens = [[f" {names[int(n)]}" for n in row] for row in ids_WT]
    return Windows(ids_WT, tokens, [f"work {n % 60}" for n in range(400)])


def detector(windows: Windows, word: str) -> Tensor:
    return torch.tensor([[float(token.strip() == word) for token in row] for row in windows.tokens])


class KnownJudge:
    """Says yes where the described word occurs (or is marked), with a share of answers flipped or missing."""

    def __init__(self, flips: float = 0.0, silent: float = 0.0, always: float | None = None, lean: float = 0.0) -> None:
        self.flips, self.silent, self.always, self.lean = flips, silent, always, lean
        self.asked: list[Question] = []

    def identity(self) -> dict[str, Any]:
        return {"judge": "known"}

    def odds(
        self, questions: Sequence[Question], *, cache: Path | None = None, progress: Callable[[int], None] | None = None
    ) -> Tensor:
        self.asked += questions
        odds = []
        for number, asked in enumerate(questions):
            word = re.sub(r"the word “(.*)”", r"\1", asked.description)
            marked = " ".join(re.findall("«(.*?)»", asked.text)) if asked.task == "fuzzing" else asked.text
            yes = (1.0 if word in marked.split() else -1.0) if self.always is None else self.always
            chance = float(torch.rand((), generator=generator("flip", number, *asked)))
            yes = -yes if chance < self.flips else yes
            odds.append(torch.nan if chance > 1 - self.silent else yes + self.lean)
        return torch.tensor(odds)


def subjects(windows: Windows, group: str = "own", shift: int = 0) -> list[Subject]:
    said = [f"the word “{word}”" for word in WORDS[shift:] + WORDS[:shift]]
    return [Subject(f"0.{n}+", group, said[n], detector(windows, word), 0.5) for n, word in enumerate(WORDS)]


@pytest.mark.parametrize("task", ["detection", "fuzzing"])
def test_a_judge_that_knows_scores_one_and_mismatched_words_score_chance(windows, task):
    result = SMALL.ask(KnownJudge(lean=-5.0), [*subjects(windows), *subjects(windows, "mismatched", 1)], windows)
    flat = result.metrics()
    assert result.refused == {}
    assert set(result.control[task, PLANTED].values()) == {1.0}
    assert result.entries[task, "own"] == {f"0.{n}+": 1.0 for n in range(10)}
    assert flat[f"judge/{task}/own"] == flat[f"judge/{task}/published"] == 1.0
    assert flat[f"judge/{task}/own_entries"] == 10
    assert abs(flat[f"judge/{task}/mismatched"] - 0.5) < 0.08
    assert abs(flat[f"judge/{task}/{SHUFFLED}"] - 0.5) < 0.08
    assert f"judge/{task}/own_low" not in flat  # ten entries say little of others


@pytest.mark.parametrize("judge", [KnownJudge(always=1.0), KnownJudge(flips=0.4)], ids=["always yes", "guessing"])
def test_a_judge_that_fails_the_control_publishes_nothing(windows, judge):
    result = SMALL.ask(judge, subjects(windows), windows)
    assert set(result.refused) == {"detection", "fuzzing"}
    assert "a stronger judge" in result.refused["detection"]
    assert result.entries == {}
    assert result.metrics()["judge/detection/published"] == 0.0
    asked = {question.description for question in judge.asked}
    assert asked <= {subject.description for subject in planted(windows, count=8)}  # no entry was asked about


def test_a_score_is_the_balanced_accuracy_of_one_who_says_yes_or_no(windows):
    judge = KnownJudge(flips=0.2)
    result = dataclasses.replace(SMALL, control_least=0.5).ask(judge, subjects(windows), windows)
    asked = [question for question in judge.asked if question.task == "detection"][-200:]
    said_EQ = (judge.odds(asked) > 0).float().view(10, 20)  # active windows are asked about first
    balanced_E = (said_EQ[:, :10].mean(1) + 1 - said_EQ[:, 10:].mean(1)) / 2
    assert list(result.entries["detection", "own"].values()) == pytest.approx(balanced_E.tolist())


def test_silence_is_undecided(windows):
    result = SMALL.ask(KnownJudge(silent=0.2), subjects(windows), windows)
    share = result.unanswered["detection"] / (20 * (8 + 8 + 10))
    assert 0.1 < share < 0.3
    both_silent = share**2 / 2  # a silent active window beside a silent other one: half; beside any other it wins
    assert result.metrics()["judge/detection/own"] == pytest.approx(1 - both_silent, abs=0.03)


def test_passing_entries_are_pooled_apart_and_rare_ones_left_out(windows):
    given = subjects(windows)
    given[0] = dataclasses.replace(given[0], passes=True)
    rare = dataclasses.replace(given[1], key="0.99+", activation_WT=torch.zeros(400, 8))
    result = SMALL.ask(KnownJudge(), [*given, rare], windows)
    assert result.entries["detection", "own_passing"] == {"0.0+": 1.0}
    assert "0.99+" not in result.entries["detection", "own"]


@pytest.mark.parametrize("neurons", [29, 30])
def test_both_signs_of_a_neuron_are_one_draw(windows, neurons):
    own = subjects(windows)
    given = [dataclasses.replace(own[n % 10], key=f"0.{n}{sign}") for n in range(neurons) for sign in "+-"]
    flat = SMALL.ask(KnownJudge(flips=0.1), given, windows).metrics()
    assert flat["judge/detection/own_entries"] == 2 * neurons
    assert ("judge/detection/own_low" in flat) == (neurons == 30)
    if neurons == 30:
        assert flat["judge/detection/own_low"] < flat["judge/detection/own"] < flat["judge/detection/own_high"]


def test_no_judge_without_planted_detectors():
    ids_WT = torch.arange(160).view(20, 8)
    tokens = [[f" {chr(97 + int(n) % 26)}{int(n)}" for n in row] for row in ids_WT]
    with pytest.raises(NlaeError, match="no two planted detectors"):
        SMALL.ask(KnownJudge(), [], Windows(ids_WT, tokens, ["a"] * 20))


def test_planted_detectors_fire_where_they_say(windows):
    found = planted(windows, count=8)
    true, shuffled = found[:8], found[8:]
    assert {s.group for s in true} == {PLANTED}
    assert {s.group for s in shuffled} == {SHUFFLED}
    for subject, other in zip(true, shuffled, strict=True):
        word = re.sub(r"the word “(.*)”", r"\1", subject.description)
        assert torch.equal(subject.activation_WT, detector(windows, word))
        assert other.description != subject.description
        assert torch.equal(other.activation_WT, subject.activation_WT)


def test_signs_are_planted_where_they_stand_and_a_word_across_tokens():
    rows = [[" a", " (", "b", ")", " har", "bour"], [" a", " hill", " in", " the", " rain", " now"]] * 12
    found = planted(Windows(torch.zeros(24, 6), rows, ["w"] * 24), count=6)
    fires = {subject.description: subject.activation_WT[0].tolist() for subject in found if subject.group == PLANTED}
    assert fires["brackets"] == [0, 1, 0, 1, 0, 0]
    assert fires["the word “harbour”"] == [0, 0, 0, 0, 1, 1]


def test_trials_cover_the_range_and_are_the_same_for_every_description():
    activation_WT = torch.zeros(100, 4)
    activation_WT[:, 2] = torch.arange(100.0)
    subject = Subject("1.2+", "own", "a", activation_WT, 49.5)
    trials = draw_trials(subject, quantiles=5, per_quantile=2, inactive=10, seed=0)
    assert trials is not None
    for quantile in range(5):
        for trial in trials[2 * quantile : 2 * quantile + 2]:
            assert 90 - 10 * quantile <= trial.window < 100 - 10 * quantile
    assert all((trial.window > 49) == trial.active for trial in trials)
    assert all(trial.marked == (2,) for trial in trials if trial.active)
    assert {len(trial.marked) for trial in trials if not trial.active} == {1}
    other = Subject("1.2+", "token_list", "b", activation_WT, 49.5)
    assert draw_trials(other, quantiles=5, per_quantile=2, inactive=10, seed=0) == trials
    assert draw_trials(subject, quantiles=30, per_quantile=2, inactive=10, seed=0) is None


def test_marks_are_shown_once_around_neighbours_and_never_taken_from_the_text():
    tokens = (" the", " old", " har", "bour", " «gate»")
    assert show(tokens, (2, 3), "fuzzing") == "the old «harbour» gate"
    assert show(tokens, (2, 3), "detection") == "the old harbour gate"
    asked = Question("names of places", "in «Rome»", "fuzzing")
    assert [turn["role"] for turn in asked.turns()] == ["user", "assistant"] * 4 + ["user"]
    assert asked.flat().endswith("\nyes\n\n" + asked.asked())
    assert asked.flat().count("«") == 4 + 5 + 1  # examples, instructions, text


@pytest.mark.parametrize("settings", [{"tasks": ("guessing",)}, {"inactive": 0}], ids=["task", "count"])
def test_settings_are_checked(settings):
    with pytest.raises(NlaeError, match="dictionary.judging"):
        Judging(**settings)
