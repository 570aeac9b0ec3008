"""What is kept of a figure when the words are reworded, on autoencoders that are known to keep it or to lose it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from measured import evaluation
from nlae.activations import ActivationStore
from nlae.errors import NlaeError
from nlae.evaluation.measures import Kept
from nlae.functional.scaling import unit
from nlae.rewording import Reworded, Truncation

CHANGES = {"no_injection": {"samples": 4}, "frontier": None, "matching": None, "greedy": None}


def run(pair: Any, store: ActivationStore, folder: Path, changes: dict[str, Any] | None = None) -> dict[str, float]:
    return evaluation(CHANGES | (changes or {}), max_rows=None, resamples=100)(pair, store, folder)


def constant_fve(store: ActivationStore, keep: Any) -> float:
    """FVE of μ/‖μ‖ over the main test rows that are kept."""
    rows = store.split("test", early=False)
    kept = torch.tensor([bool(keep(int(row))) for row in rows.row])
    truth_ND, mean_D = unit(rows.all())[kept].double(), store.statistics.mean_D.double()
    return 1 - float((truth_ND - unit(mean_D)).square().sum() / (truth_ND - mean_D).square().sum())


@pytest.fixture
def ordered(fakes: SimpleNamespace) -> type[Any]:
    """Says it by the order of its words."""

    class Ordered(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def _one(self, text: str) -> Tensor:
            return super()._one(text if len(text.split()) == 4 else "")

    return Ordered


@pytest.fixture
def quoting(fakes: SimpleNamespace) -> type[Any]:
    """Every second text says it in a quote alone."""

    class Quoting(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            return [one if one.text == "" or int(one.text.split()[1]) % 2 else self._quoted(one) for one in said]

        def _quoted(self, one: Any) -> Any:
            return dataclasses.replace(one, text=f'It says "{one.text}" here and says no more of it')

        def _one(self, text: str) -> Tensor:
            found = re.search(r"row (\d+)", text)
            return super()._one(f"row {found[1]} noise 0" if found else "")

    return Quoting


def test_a_pair_that_says_it_by_order_loses_it_with_the_order(
    fakes: SimpleNamespace, store: ActivationStore, ordered: type[Any], tmp_path: Path
) -> None:
    class Bag(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def _one(self, text: str) -> Tensor:
            numbers = [word for word in text.split() if word.startswith("#")]
            return super()._one(f"row {numbers[0][1:]} noise 0" if numbers else text)

        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            return [dataclasses.replace(one, text=one.text.replace("row ", "row #")) for one in said]

    lost = run(ordered(fakes.truth(), store.statistics), store, tmp_path / "ordered")
    bag = run(Bag(fakes.truth(), store.statistics), store, tmp_path / "bag")
    assert lost["fve"] == pytest.approx(1.0, abs=1e-5)
    assert lost["control/word_shuffle"] < 0.2
    assert lost["control/word_shuffle_low"] < lost["control/word_shuffle"] < lost["control/word_shuffle_high"]
    assert lost["control/word_shuffle_gap_low"] > 0.5
    assert lost["kept/word_shuffle_low"] < lost["kept/word_shuffle"] < lost["kept/word_shuffle_high"] < 0.3
    assert bag["fve"] == pytest.approx(1.0, abs=1e-5)
    assert bag["control/word_shuffle"] == pytest.approx(bag["fve"], abs=1e-5)
    assert bag["kept/word_shuffle"] == pytest.approx(1.0, abs=1e-5)
    assert bag["kept/word_shuffle_low"] == pytest.approx(1.0, abs=1e-5)
    # half the words are only "row" and its number, without which nothing is known
    assert lost["kept/half"] == pytest.approx(0.0, abs=1e-5)
    assert bag["kept/half"] == pytest.approx(1.0, abs=1e-5)


def test_a_pair_whose_payload_is_its_quotes_is_left_with_nothing(
    fakes: SimpleNamespace, store: ActivationStore, quoting: type[Any], tmp_path: Path
) -> None:
    metrics = run(quoting(fakes.truth(), store.statistics), store, tmp_path)
    rows = [int(row) for row in store.split("test", early=False).row]
    assert metrics["control/no_quotes_rows"] == sum(row % 2 == 0 for row in rows)
    assert metrics["control/no_quotes"] == pytest.approx(constant_fve(store, lambda row: row % 2 == 0), abs=1e-5)
    assert metrics["control/no_quotes_gap_low"] > 0.5
    assert metrics["kept/no_quotes"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["kept/only_quotes"] == pytest.approx(1.0, abs=1e-5)
    # as many tokens fewer, but not these: some texts keep their quote whole
    assert 0.05 < metrics["kept/fewer_tokens"] < 0.9
    assert metrics["kept/fewer_tokens_low"] > metrics["kept/no_quotes_high"]


def test_without_any_quote_nothing_is_claimed(fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path) -> None:
    metrics = run(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path)
    assert metrics["control/no_quotes_rows"] == 0
    assert "control/no_quotes" not in metrics
    for key in ("kept/no_quotes", "ratio/no_quotes", "kept/paraphrase", "ratio/synonyms"):
        assert math.isnan(metrics[key]), key
        assert f"{key}_low" not in metrics


def test_kept_is_a_share_of_the_gain_over_the_better_wordless_answer(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    rows = store.split("test", early=False)
    best = unit(unit(rows.all()).mean(0, keepdim=True))[0]

    class Partly(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        """Of half a text it makes something between the truth and the mean; silence says the test rows' own mean."""

        def _one(self, text: str) -> Tensor:
            words = text.split()
            if len(words) == 2 and words[0] == "row":
                return unit(super()._one(f"{text} noise 0") + 0.7 * unit(self.statistics.mean_D))
            return super()._one(text)

        def read_empty(self) -> Tensor:
            return best

    metrics = run(Partly(fakes.truth(), store.statistics, noise=0.1), store, tmp_path)
    base = metrics["control/empty"]
    assert base > metrics["control/mean"]
    expected = (metrics["control/half"] - base) / (metrics["fve"] - base)
    assert 0.2 < expected < 0.95
    assert metrics["kept/half"] == pytest.approx(expected)
    assert metrics["ratio/half"] == pytest.approx(metrics["control/half"] / metrics["fve"])
    assert metrics["kept/half_low"] < expected < metrics["kept/half_high"]


def test_a_reader_that_has_learned_the_mean_keeps_nothing_that_counts(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    class Mean(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        """Whatever it reads, the same: nothing is lost by any rewording, since nothing was said."""

        def _one(self, text: str) -> Tensor:
            return super()._one("")

    metrics = run(Mean(fakes.truth(), store.statistics), store, tmp_path)
    assert metrics["control/empty"] == pytest.approx(metrics["fve"], abs=1e-5)
    assert metrics["control/word_shuffle"] == pytest.approx(metrics["fve"], abs=1e-5), "a ratio of the two would be 1"
    for key in ("kept/word_shuffle", "kept/half", "ratio/half"):
        assert math.isnan(metrics[key]), key


def test_an_autoencoder_that_hides_its_reader_is_compared_with_the_mean(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    class Hidden(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        read_empty = None

    metrics = run(Hidden(fakes.truth(), store.statistics), store, tmp_path)
    assert "control/empty" not in metrics
    assert any("no control/empty" in note for note in json.loads((tmp_path / "notes.json").read_text()))
    gain = metrics["fve"] - metrics["control/mean"]
    assert metrics["kept/half"] == pytest.approx((metrics["control/half"] - metrics["control/mean"]) / gain, abs=1e-5)


def test_a_rewording_says_how_much_it_changed_and_a_headline_is_kept_to_read(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    class Half:
        """Rewords every second text."""

        headline = True

        def __call__(self, texts: list[str], seeds: list[int], folder: Path) -> Reworded:
            made = [text.upper() if i % 2 else None for i, text in enumerate(texts)]
            return Reworded(made, {"replaced": 0.5}, "every second one")

    pair = fakes.Autoencoder(fakes.truth(), store.statistics)
    metrics = run(pair, store, tmp_path, {"kept": {"rewordings": {"upper": Half(), "none": None}}})
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert metrics["kept/upper_replaced"] == 0.5
    assert metrics["kept/upper"] == pytest.approx(0.0, abs=1e-5)
    assert rows["upper"].null_count() == math.ceil(len(rows) / 2)
    assert metrics["control/upper_rows"] == rows.filter(~pl.col("early"))["upper"].is_not_null().sum()
    assert "kept/upper: every second one" in json.loads((tmp_path / "notes.json").read_text())
    assert math.isnan(metrics["kept/none"])


def test_what_is_no_rewording_is_refused_by_name() -> None:
    with pytest.raises(NlaeError, match=r"kept\.rewordings\.mine is a dict"):
        Kept({"mine": {"share": 0.5}})  # type: ignore[dict-item]
    assert set(Kept({"half": Truncation(0.5), "none": None}).rewordings) == {"half", "none"}
