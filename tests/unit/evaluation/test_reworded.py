"""What is lost when an explanation's words are shuffled or its quotes taken out, against figures made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from measured import evaluation
from nlae.activations import ActivationStore
from nlae.evaluation.measures.no_quotes import without_quotes
from nlae.evaluation.measures.word_shuffle import shuffled_words
from nlae.functional.scaling import unit

CHANGES = {"no_injection": {"samples": 4}, "frontier": None, "matching": None, "greedy": None}


def run(pair: Any, store: ActivationStore, folder: Path) -> dict[str, float]:
    return evaluation(CHANGES, max_rows=None, resamples=100)(pair, store, folder)


def constant_fve(store: ActivationStore, keep: Any) -> float:
    """FVE of μ/‖μ‖ over the main test rows that are kept."""
    rows = store.split("test", early=False)
    kept = torch.tensor([bool(keep(int(row))) for row in rows.row])
    truth_ND, mean_D = unit(rows.all())[kept].double(), store.statistics.mean_D.double()
    return 1 - float((truth_ND - unit(mean_D)).square().sum() / (truth_ND - mean_D).square().sum())


def test_words_are_kept_and_their_order_is_not() -> None:
    text = "one two  three\nfour five six seven"
    assert sorted(shuffled_words(text, 3).split()) == sorted(text.split())
    assert shuffled_words(text, 3) == shuffled_words(text, 3)
    assert len({shuffled_words(text, seed) for seed in range(20)}) > 15
    assert shuffled_words("", 1) == ""


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('It ends on "the old mill", so', "It ends on , so"),
        ("A “curly” and a «French» one", "A and a one"),
        ("It doesn't 'end here' and the dogs' tails don't", "It doesn't and the dogs' tails don't"),
        ("code `x = 1` runs", "code runs"),
        ('the last words are "the old harb', "the last words are"),
        ("ends on “the ra", "ends on"),
        ("He said ‘don’t go’ twice", "He said twice"),
        ('"all of it"', ""),
    ],
)
def test_quotes_are_taken_out_and_apostrophes_stay(text: str, left: str) -> None:
    assert without_quotes(text) == left


def test_a_pair_that_says_it_by_order_loses_it_with_the_order(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    class Ordered(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def _one(self, text: str) -> torch.Tensor:
            return super()._one(text if text.startswith("row ") and text.split()[2] == "noise" else "")

    class Bag(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def _one(self, text: str) -> torch.Tensor:
            numbers = [word for word in text.split() if word.startswith("#")]
            return super()._one(f"row {numbers[0][1:]} noise 0" if numbers else text)

        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            return [dataclasses.replace(one, text=one.text.replace("row ", "row #")) for one in said]

    ordered = run(Ordered(fakes.truth(), store.statistics), store, tmp_path / "ordered")
    bag = run(Bag(fakes.truth(), store.statistics), store, tmp_path / "bag")
    assert ordered["fve"] == pytest.approx(1.0, abs=1e-5)
    assert ordered["control/word_shuffle"] < 0.2
    assert ordered["control/word_shuffle_low"] < ordered["control/word_shuffle"] < ordered["control/word_shuffle_high"]
    assert ordered["control/word_shuffle_gap_low"] > 0.5
    assert bag["fve"] == pytest.approx(1.0, abs=1e-5)
    assert bag["control/word_shuffle"] == pytest.approx(bag["fve"], abs=1e-5)


def test_a_pair_whose_payload_is_its_quotes_is_left_with_the_mean(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    class Quoting(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            return [one if one.text == "" or int(one.text.split()[1]) % 2 else self._quoted(one) for one in said]

        def _quoted(self, one: Any) -> Any:
            return dataclasses.replace(one, text=f'"{one.text}"')

        def _one(self, text: str) -> torch.Tensor:
            words = text.replace('"', "").split()
            return super()._one(" ".join(words) if words[:1] == ["row"] and words[2:3] == ["noise"] else "")

    metrics = run(Quoting(fakes.truth(), store.statistics), store, tmp_path)
    rows = [int(row) for row in store.split("test", early=False).row]
    assert metrics["control/no_quotes_rows"] == sum(row % 2 == 0 for row in rows)
    assert metrics["control/no_quotes"] == pytest.approx(constant_fve(store, lambda row: row % 2 == 0), abs=1e-5)
    assert metrics["control/no_quotes_gap_low"] > 0.5


def test_without_any_quote_nothing_is_claimed(fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path) -> None:
    metrics = run(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path)
    assert metrics["control/no_quotes_rows"] == 0
    assert "control/no_quotes" not in metrics
