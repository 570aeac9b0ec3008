"""Judges of known ability: what they score follows from what they know."""

import re

import pytest
import torch

from nlae.dictionary.judge.detection import Question, Subject, detect, draw_windows
from nlae.functional.randomness import generator

WORDS = ["river", "treaty", "engine", "glacier", "lantern", "verdict", "harvest", "orchestra", "enzyme", "parliament"]


@pytest.fixture(scope="module")
def windows() -> list[str]:
    """400 windows of 8 words, each word in a fifth or so of them."""
    ids_WT = torch.randint(40, (400, 8), generator=generator(0, "windows of a test"))
    names = WORDS + [f"filler{chr(97 + n // 6)}{chr(97 + n % 6)}" for n in range(30)]
    return ["".join(f" {names[int(n)]}" for n in row) for row in ids_WT]


class KnownJudge:
    """Says yes where the described word occurs, with a share of answers flipped or missing."""

    def __init__(self, flips: float = 0.0, silent: float = 0.0, always: float | None = None, lean: float = 0.0) -> None:
        self.flips, self.silent, self.always, self.lean = flips, silent, always, lean
        self.asked: list[Question] = []

    def odds(self, questions, cache):
        self.asked += questions
        odds = []
        for number, asked in enumerate(questions):
            word = re.sub(r"the word “(.*)”", r"\1", asked.description)
            yes = (1.0 if word in asked.text.split() else -1.0) if self.always is None else self.always
            chance = float(torch.rand((), generator=generator("flip", number, *asked)))
            yes = -yes if chance < self.flips else yes
            odds.append(torch.nan if chance > 1 - self.silent else yes + self.lean)
        return torch.tensor(odds)


def subjects(windows, shift=0):
    peaks = [torch.tensor([float(word in text.split()) for text in windows]) for word in WORDS]
    said = WORDS[shift:] + WORDS[:shift]
    return [Subject(f"0.{n}+", f"the word “{said[n]}”", peak_W, 0.5) for n, peak_W in enumerate(peaks)]


def test_a_judge_that_knows_scores_one_and_mismatched_words_score_chance(windows, tmp_path):
    judge = KnownJudge(lean=-5.0)
    assert detect(judge, subjects(windows), windows, 0, tmp_path).tolist() == [1.0] * 10
    assert abs(float(detect(judge, subjects(windows, 1), windows, 0, tmp_path).mean()) - 0.5) < 0.08


@pytest.mark.parametrize("judge", [KnownJudge(always=1.0), KnownJudge(flips=0.5)], ids=["always yes", "guessing"])
def test_a_judge_that_hears_nothing_scores_chance(windows, tmp_path, judge):
    assert abs(float(detect(judge, subjects(windows), windows, 0, tmp_path).mean()) - 0.5) < 0.08


def test_a_score_is_the_balanced_accuracy_of_one_who_says_yes_or_no(windows, tmp_path):
    judge = KnownJudge(flips=0.2)
    found_S = detect(judge, subjects(windows), windows, 0, tmp_path)
    said_SQ = (judge.odds(list(judge.asked), tmp_path) > 0).float().view(10, 20)  # firing windows are asked about first
    balanced_S = (said_SQ[:, :10].mean(1) + 1 - said_SQ[:, 10:].mean(1)) / 2
    assert found_S.tolist() == pytest.approx(balanced_S.tolist())


def test_silence_is_undecided_and_said(windows, tmp_path, caplog):
    found_S = detect(KnownJudge(silent=0.2), subjects(windows), windows, 0, tmp_path)
    silent, asked = map(int, re.findall(r"left (\d+) of (\d+)", caplog.text)[0])
    assert 0.1 < silent / asked < 0.3
    both_silent = (silent / asked) ** 2 / 2  # a silent firing window beside a silent other one: half
    assert float(found_S.mean()) == pytest.approx(1 - both_silent, abs=0.03)


def test_what_fires_or_rests_in_too_few_windows_has_no_score(windows, tmp_path):
    given = subjects(windows)
    given[1] = given[1]._replace(peak_W=torch.zeros(400))
    given[2] = given[2]._replace(peak_W=torch.ones(400))
    found_S = detect(KnownJudge(), given, windows, 0, tmp_path)
    assert found_S.isnan().tolist() == [False, True, True] + [False] * 7
    assert detect(KnownJudge(), given[1:3], windows, 0, tmp_path).isnan().all()


def test_windows_cover_the_range_and_are_the_same_for_every_description():
    subject = Subject("1.2+", "a", torch.arange(100.0), 49.5)
    drawn = draw_windows(subject, seed=0)
    assert drawn is not None
    for share in range(5):
        assert all(90 - 10 * share <= window < 100 - 10 * share for window in drawn[2 * share : 2 * share + 2])
    assert [window > 49 for window in drawn] == [True] * 10 + [False] * 10
    assert len(set(drawn)) == 20
    assert draw_windows(subject._replace(description="b"), seed=0) == drawn
    assert draw_windows(subject, seed=1) != drawn


def test_examples_come_first_and_the_question_last():
    asked = Question("names of\nplaces", "in Rome")
    assert [turn["role"] for turn in asked.turns()] == ["user", "assistant"] * 4 + ["user"]
    assert asked.flat().endswith("\nyes\n\n" + asked.asked())
    assert "Description: names of places\nText: in Rome\n" in asked.asked()
