"""What single sentences, agreement and checkable claims are worth, of verbalizers that are right, wrong or repeat."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from findings import drawn
from nlae.activations import ActivationStore, Descriptions
from nlae.errors import NlaeError
from nlae.evaluation import Evaluation
from nlae.evaluation.measures import Claims, Consensus, Sentences
from nlae.evaluation.measures.consensus import agreement, central
from nlae.evaluation.measures.sentences import pieces
from nlae.functional.scaling import unit
from nlae.teacher.compose import bullets, sentences

N = 960  # rows of the store


def saying(fakes: SimpleNamespace, store: ActivationStore, say: Callable[[int, int], str], **how: Any) -> Any:
    """A pair that says what `say` makes of (row, seed), and reads `row i noise s` wherever that stands in a text."""

    class Says(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def verbalize(self, activation_ND: Tensor, *, seeds: Any, **given: Any) -> list[Any]:
            said = super().verbalize(activation_ND, seeds=seeds, **given)
            number = [int(one.text.split()[1]) for one in said]
            return [dataclasses.replace(o, text=say(i, s)) for o, i, s in zip(said, number, seeds, strict=True)]

        def _one(self, text: str) -> Tensor:
            place = text.find("row ")
            return super()._one(text[max(0, place) :].partition(".")[0])

    return Says(fakes.truth(N), store.statistics, **how)


@pytest.mark.parametrize(
    "text", ["One. Two three.  Four", "- a\n- b\n", "Ends in a quote “so.” And on", "", "No end", "A? B! C…"]
)
def test_pieces_joined_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(piece.strip() for piece in pieces(text))


def test_sentences_by_hand() -> None:
    assert pieces("One. Two three.  Four") == ["One. ", "Two three.  ", "Four"]
    assert pieces("- a\n- b") == ["- a\n", "- b"]


def test_the_one_sentence_that_holds_everything_is_found(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    pair = saying(fakes, store, lambda row, seed: f"Some filler. It says row {row} noise 0. More of it.")
    metrics = Evaluation({"sentences": Sentences(rows=100)}, resamples=50)(pair, store, tmp_path)
    rows = pl.read_parquet(tmp_path / "rows.parquet").filter(pl.col("sentence_fve").is_not_null())
    assert metrics["claims/sentences_rows"] == len(rows) == 100
    assert metrics["claims/sentences_that_count"] == pytest.approx(1 / 3)
    # without it the reader is left with the mean
    truth_ND = unit(fakes.truth(N))[rows["row"].to_list()].double()
    mean_D = store.statistics.mean_D.double()
    lost = float((truth_ND - unit(mean_D).double()).square().sum() / (truth_ND - mean_D).square().sum())
    assert metrics["claims/sentence_fve"] == pytest.approx(lost / 3, abs=1e-4)
    first, middle, last = np.array(rows["sentence_fve"].to_list()).mean(axis=0)
    assert (first, last) == pytest.approx((0, 0), abs=1e-6)
    assert middle == pytest.approx(lost, abs=1e-4)
    # held against another row, saying less is less wrong
    assert metrics["claims/sentence_fve_null"] < 0
    assert metrics["claims/sentence_fve_gap_low"] > 0.2


def test_the_sample_in_the_middle_is_the_better_one(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    def noisy(row: int, seed: int) -> str:
        return f"row {row} noise {seed % 1000}"

    class Sometimes(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        """One sample in three is another row's."""

        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            return [
                dataclasses.replace(one, text=noisy((int(one.text.split()[1]) + (seed % 3 == 0) * 101) % N, seed))
                for one, seed in zip(said, how["seeds"], strict=True)
            ]

    pair = Sometimes(fakes.truth(N), store.statistics, noise=0.05)
    metrics = Evaluation({"consensus": Consensus(samples=6, rows=150)}, resamples=100)(pair, store, tmp_path)
    assert metrics["claims/samples"] == 6
    assert metrics["claims/consensus_fve"] > metrics["claims/single_fve"] + 0.3
    assert metrics["claims/single_fve_gap_low"] > 0.2
    assert metrics["claims/consensus_fve_low"] < metrics["claims/consensus_fve"] < metrics["claims/consensus_fve_high"]


def test_agreement_beside_a_habit_and_an_invention(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    def measured(say: Callable[[int, int], str], name: str) -> dict[str, float]:
        made = Evaluation({"consensus": Consensus(samples=3, rows=60)}, resamples=50)
        return made(saying(fakes, store, say), store, tmp_path / name)

    letters = "abcdefghij"

    def word(number: int) -> str:
        return "".join(letters[int(digit)] for digit in f"{number:06d}")

    held = measured(lambda row, seed: f"vessel {word(row)}", "held")
    assert held["claims/agreement"] == 1.0
    assert held["claims/agreement_null"] == pytest.approx(1 / 3)
    invented = measured(lambda row, seed: f"vessel {word(seed % 10**6)}", "invented")
    assert invented["claims/agreement"] == pytest.approx(invented["claims/agreement_null"], abs=0.02)
    habit = measured(lambda row, seed: "vessel harbour", "habit")
    assert habit["claims/agreement"] == habit["claims/agreement_null"] == 1.0


def test_middle_and_agreement_by_hand() -> None:
    read_SKD = unit(torch.tensor([[[1.0, 0.1]], [[1.0, 0.0]], [[-1.0, 0.0]]]))
    assert central(read_SKD).tolist() == [0] or central(read_SKD).tolist() == [1]
    texts = [["red vessel", "green"], ["vessel harbour", "green"], ["vessels", ""]]
    # one of three, one of two, one of two; and one of one, none, none
    assert agreement(texts).tolist() == pytest.approx([(1 / 3 + 1 / 2 + 1 / 2) / 3, 1 / 3])
    assert agreement(texts, [1, 0])[0] == 0.0
    with pytest.raises(NlaeError, match=r"measures\.consensus"):
        Consensus(samples=2)
    with pytest.raises(NlaeError, match=r"measures\.sentences\.rows"):
        Sentences(rows=0)


NAMES = ("register", "topics", "sentence", "ending", "akin", "next")


def checked(
    fakes: SimpleNamespace, store: ActivationStore, folder: Path, say: Callable[[int, int], str], told: Any = None
) -> dict[str, float]:
    told = told or (lambda row: sentences(drawn(row)))
    descriptions = Descriptions({int(row): told(int(row)) for row in store.split("test").row})
    made = Evaluation({"claims": Claims()}, resamples=50)
    return made(saying(fakes, store, say), store, folder, descriptions=descriptions)


def test_the_teachers_own_text_is_right_and_another_rows_is_at_chance(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    right = checked(fakes, store, tmp_path / "a", lambda row, seed: sentences(drawn(row)))
    shifted = np.random.default_rng(0).permutation(N)
    wrong = checked(fakes, store, tmp_path / "b", lambda row, seed: sentences(drawn(int(shifted[row]))))
    assert right["claims/rows"] == right["rows"]
    assert right["claims/understood"] == wrong["claims/understood"] == 1.0
    for name in NAMES:
        for figure in ("precision", "recall"):
            key = f"claims/{name}_{figure}"
            assert right[key] == 1.0, key
            assert right[f"{key}_null"] < 0.55, key
            assert right[f"{key}_gap"] > 0.4, key
            assert abs(wrong[f"{key}_gap"]) < 0.12, key
            assert wrong[key] == pytest.approx(right[f"{key}_null"], abs=0.15), key
    assert right["claims/topics_precision_gap_low"] > 0.4
    assert wrong["claims/topics_precision_gap_low"] < 0 < wrong["claims/topics_precision_gap_high"]


def test_half_of_the_topics_made_up(fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path) -> None:
    def told(row: int) -> str:
        return bullets(dataclasses.replace(drawn(row), topics=("vessel", "fog"), register="dialogue"))

    metrics = checked(
        fakes, store, tmp_path, lambda row, seed: "Dialogue about vessels, train, station and fogs. I made it up.", told
    )
    assert metrics["claims/topics_precision"] == 0.5
    assert metrics["claims/topics_recall"] == 1.0
    assert metrics["claims/register_precision"] == 1.0
    assert metrics["claims/understood"] == 0.0
    assert metrics["claims/next_recall"] == 0.0
    assert "claims/next_precision" not in metrics


def test_claims_that_samples_agree_on_are_the_true_ones(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    """Each sample names the true topic and two of its own making; half of the time it misses the register."""
    made_up = ["vessel", "harbour", "pollen", "orchard", "timetable", "fog", "bakery", "captain", "nectar", "quay"]

    def say(row: int, seed: int) -> str:
        first, second = np.random.default_rng(seed).choice(made_up, 2, replace=False)
        return f"{'Dialogue' if seed % 2 else 'List'} about train, {first} and {second}."

    descriptions = Descriptions({int(row): "Dialogue about train." for row in store.split("test").row})
    made = Evaluation({"consensus": Consensus(samples=5, rows=100)}, resamples=50)
    metrics = made(saying(fakes, store, say), store, tmp_path, descriptions=descriptions)
    # of four claims the train is true, and the register every second time
    assert metrics["claims/sampled_precision"] == pytest.approx(1.5 / 4, abs=0.05)
    assert metrics["claims/agreed_precision"] > metrics["claims/sampled_precision_high"] + 0.2
    assert 0.3 < metrics["claims/agreed_share"] < 0.8
    # every row is described alike: what is true of one is true of all
    assert metrics["claims/agreed_precision_gap"] == 0.0


def test_other_teachers_texts_check_nothing(fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path) -> None:
    prose = "The passage seems to come from a long letter, in which somebody complains. It may go on."
    metrics = checked(fakes, store, tmp_path, lambda row, seed: sentences(drawn(row)), lambda row: prose)
    assert metrics["claims/rows"] == 0
    assert "claims/topics_precision" not in metrics
    assert "teacher=context" in (tmp_path / "notes.json").read_text()
