"""The sample judged and steered with: scores beside their nulls, and what a judge that fails leaves behind."""

import json
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

from nlae.dictionary.judge.judging import Judging
from nlae.dictionary.judge.sample import Sample, examine, stratified_sample
from nlae.dictionary.judge.steering import Steering
from nlae.dictionary.judge.trials import Windows
from nlae.functional.randomness import generator
from nlae.target import TinyTarget

WORDS = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(40)]
IDS_WT = torch.randint(40, (300, 8), generator=generator(0, "windows"))
WINDOWS = Windows(IDS_WT + 5, [[f" {WORDS[int(n)]}" for n in row] for row in IDS_WT], [f"work {n}" for n in range(300)])


def sample(neurons: int = 36, **other: Any) -> Sample:
    """Neuron n of three layers fires on word n and says so."""
    said = [f"the word “{WORDS[n % 40]}”" for n in range(neurons)]
    fields: dict[str, Any] = {
        "layer": [n % 3 for n in range(neurons)],
        "neuron": list(range(neurons)),
        "sign": ["+", "-"] * (neurons // 2),
        "description": ["", *said[1:]],
        "mismatched": said[1:] + said[:1],
        "tokens": [[f" {WORDS[n % 40]}"] for n in range(neurons)],
        "passes": [n < 5 for n in range(neurons)],
        "threshold": [0.5] * neurons,
        "promoted": [[5 + n, 50 + n] for n in range(neurons)],
        "activation_EWT": (torch.arange(neurons)[:, None, None] % 40 == IDS_WT).float(),
    }
    return Sample(**{**fields, **other})


class Reads:
    """Says yes where a word of the description stands in the text, or always."""

    def __init__(self, always: bool = False) -> None:
        self.always = always

    def identity(self) -> dict[str, Any]:
        return {"judge": "reads"}

    def odds(self, questions: Sequence[Any], **_: Any) -> torch.Tensor:
        return torch.tensor([float(self.always or self._hears(asked)) for asked in questions])

    @staticmethod
    def _hears(asked: Any) -> bool:
        text = " ".join(re.findall("«(.*?)»", asked.text)) if asked.task == "fuzzing" else asked.text
        return any(word in text.split() for word in re.findall(r"word\w+", asked.description))


def settings(**other: Any) -> Any:
    judging = Judging(quantiles=2, per_quantile=2, inactive=4, control=6, resamples=200)
    default = {"judge": None, "judging": judging, "steered": 0, "seed": 7}
    return SimpleNamespace(**{**default, "steering": Steering(kl=0.05, random=4), **other})


@pytest.fixture(scope="module")
def target() -> Any:
    return TinyTarget(layers=3, width=32, vocabulary=400).load()


def test_a_judge_tells_own_words_from_mismatched_ones(target, tmp_path):
    scores, metrics = examine(target, sample(), WINDOWS, settings(judge=Reads()), tmp_path)
    assert scores.columns == ["layer", "neuron", "sign", "detection", "fuzzing", "output_score"]
    assert scores["detection"].to_list() == [None] + [1.0] * 35  # the first has no words
    assert scores["output_score"].is_null().all()
    assert scores.schema["layer"] == pl.Int32
    for task in ("detection", "fuzzing"):
        assert metrics[f"judge/{task}/own"] == metrics[f"judge/{task}/own_low"] == 1.0
        assert metrics[f"judge/{task}/token_list"] == 1.0
        assert metrics[f"judge/{task}/mismatched_high"] < 0.6
        assert metrics[f"judge/{task}/own_passing_entries"] == 4
    assert json.loads((tmp_path / "judge.json").read_text())["works"] == 300
    assert not any("output_score" in name for name in metrics)


def test_a_failing_judge_leaves_its_reason_and_no_score(target, tmp_path):
    scores, metrics = examine(target, sample(), WINDOWS, settings(judge=Reads(always=True)), tmp_path)
    notes = json.loads((tmp_path / "judge.json").read_text())
    assert set(notes["refused"]) == {"detection", "fuzzing"}
    assert {value for name, value in notes["control"].items() if name.startswith("detection")} == {0.5}
    assert metrics["judge/detection/published"] == 0.0
    assert not any("own" in name for name in metrics)
    assert scores["detection"].is_null().all()


def test_steering_stands_beside_its_null_and_takes_as_many_as_are_asked_for(target, tmp_path):
    scores, metrics = examine(target, sample(), WINDOWS, settings(steered=34), tmp_path)
    assert scores["output_score"].count() == metrics["output_score_entries"] == 34
    for name in ("output_score", "output_score/null"):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
    assert abs(metrics["output_score"] - 0.5) < 0.2  # promoted tokens that are made up
    assert not any(name.startswith("judge/") for name in metrics)
    assert scores["detection"].is_null().all()
    again, _ = examine(target, sample(), WINDOWS, settings(steered=34), tmp_path)
    assert again.equals(scores)


def test_a_real_write_vector_raises_what_it_promotes(target, tmp_path):
    down = target.architecture.down_weight(target.architecture.blocks(target.model)[2]).detach()
    head = target.model.get_output_embeddings().weight.detach()
    promoted = (down.T @ head.T).topk(3).indices[:12].tolist()
    lower = (-(down.T @ head.T)).topk(3).indices[:12].tolist()
    both = [high if n % 2 == 0 else low for n, (high, low) in enumerate(zip(promoted, lower, strict=True))]
    given = sample(12, layer=[2] * 12, promoted=both)
    _, metrics = examine(target, given, WINDOWS, settings(steered=12), tmp_path)
    assert metrics["output_score"] > 0.8 > 0.7 > metrics["output_score/null"]
    assert "output_score_low" not in metrics  # of twelve


def test_nothing_is_said_of_nobody(target, tmp_path):
    empty = sample(0, description=[])
    scores, metrics = examine(target, empty, WINDOWS, settings(judge=Reads(), steered=3), tmp_path)
    assert (len(scores), metrics) == (0, {})


def test_a_stratified_sample_covers_layers_and_frequencies():
    layer = [row // 100 for row in range(300)]
    frequency = [(row * 37 % 100) / 100 for row in range(300)]
    chosen = stratified_sample(layer, frequency, 60, seed=1)
    assert chosen == sorted(set(chosen))
    assert [sum(layer[row] == number for row in chosen) for number in range(3)] == [20, 20, 20]
    quarters = [sum(int(frequency[row] * 4) == quarter for row in chosen) for quarter in range(4)]
    assert quarters == [15] * 4
    assert stratified_sample(layer, frequency, 60, seed=2) != chosen
    assert stratified_sample(layer, frequency, 999, seed=1) == list(range(300))
