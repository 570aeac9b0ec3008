"""The sample judged and steered with: scores beside their nulls, and what a judge that fails leaves behind."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from nlae.dictionary.examine import GROUPS, STEERED, _subjects, examine, steering_metrics
from nlae.dictionary.judge import JudgeSettings, Windows
from nlae.dictionary.settings import DictionarySettings
from nlae.dictionary.steering_settings import SteeringSettings


def row(layer: int, neuron: int, passes: bool = False, **figures: float | None) -> dict[str, Any]:
    numbers: dict[str, float | None] = dict.fromkeys(STEERED, 0.5)
    return {"layer": layer, "neuron": neuron, "sign": "+", "passes": passes, **numbers, **figures}


def test_output_scores_stand_beside_their_nulls():
    rows = [row(n % 9, n, passes=n < 5, score=0.6 + n / 100, gain=0.2, gain_random=-0.1) for n in range(36)]
    flat = steering_metrics([*rows, row(0, 99, **dict.fromkeys(STEERED))], 9, seed=0)
    assert flat["output_score"] == pytest.approx(0.775)
    assert flat["output_score/decoy"] == 0.5
    assert (flat["output_score/entries"], flat["output_score/unreached"]) == (36, 1)
    assert flat["output_score/passing"] == pytest.approx(0.62)
    assert flat["output_score/early"] == pytest.approx(np.median([0.6 + n / 100 for n in range(36) if n % 9 < 3]))
    assert flat["output_score/late/entries"] == 12
    assert (flat["output_score/gain"], flat["output_score/gain_random"]) == (0.2, -0.1)
    assert flat["output_score/mean_low"] < flat["output_score/mean"] < flat["output_score/mean_high"]
    assert flat["output_score/decoy_mean"] == pytest.approx(0.5)


def test_a_layer_without_another_neuron_has_no_decoy_and_takes_part_in_the_rest():
    lone = row(0, 1, score=0.9, decoy_score=None, gain_decoy=None)
    flat = steering_metrics([lone, row(8, 2, score=0.5, decoy_score=0.3, gain_decoy=0.1)], 9, seed=0)
    assert (flat["output_score"], flat["output_score/mean"]) == pytest.approx((0.7, 0.7))
    assert (flat["output_score/decoy"], flat["output_score/decoy_mean"]) == (0.3, 0.3)
    assert flat["output_score/gain_decoy"] == 0.1
    assert "output_score/early/decoy" not in flat
    assert flat["output_score/early"] == 0.9
    alone = steering_metrics([lone], 9, seed=0)
    assert alone["output_score"] == 0.9
    assert not any("decoy" in name for name in alone)


def test_nothing_is_said_of_steering_that_never_reached_its_divergence():
    assert steering_metrics([row(0, 1, **dict.fromkeys(STEERED))], 3, seed=0) == {}


def test_a_sampled_entry_is_judged_by_as_many_texts_as_key_words():
    windows = Windows(torch.zeros(2, 3), (("x",) * 3,) * 2, ("a", "b"), {4: (7,)}, {4: torch.ones(2, 3, 1)})
    text = {"layer": 4, "neuron": 7, "sign": "-", "threshold": 0.0, "ours": "key words", "verbalized": "its texts"}
    subjects = _subjects({**text, "context_only": "key words", "decoy": ""}, {"tokens": [], "passes": True}, windows)
    assert [(s.group, s.description) for s in subjects] == [
        ("ours", "key words"),
        ("verbalized", "its texts"),
        ("context_only", "key words"),
    ]
    assert {(s.key, s.drawn) for s in subjects} == {("4.7-", "4.7")}


class Judge:
    """Always as sure that a description fits."""

    name = "sure"
    calibrated = False
    told_half = False

    def identity(self) -> dict[str, Any]:
        return {"judge": self.name}

    def choose(self, questions: Sequence[Any], options: Sequence[str], **_: Any) -> torch.Tensor:
        return torch.tensor([[0.9, 0.1]]).expand(len(questions), 2)


def test_the_dictionarys_seed_reaches_the_judge_and_steering(tmp_path, scanned, monkeypatch):
    entries = pl.DataFrame([(0, 3, "+")], schema=["layer", "neuron", "sign"], orient="row").with_columns(
        frequency=pl.lit(0.1), tokens=pl.lit(["a"]), passes=pl.lit(True)
    )
    texts = [{"layer": 0, "neuron": 3, "sign": "+", "threshold": 0.0, **dict.fromkeys(GROUPS, "a")}]
    seeds: list[int] = []

    def stop(*given: Any, **_: Any) -> None:
        seeds.append(next(item.seed for item in given if isinstance(item, JudgeSettings | SteeringSettings)))
        raise InterruptedError

    monkeypatch.setattr("nlae.dictionary.examine.judge_entries", stop)
    monkeypatch.setattr("nlae.dictionary.examine.output_scores", stop)
    for chosen in ({"judge": Judge(), "judged": 1}, {"steered": 1}):
        with pytest.raises(InterruptedError):
            examine(scanned.target, scanned.corpus, entries, texts, DictionarySettings(seed=7, **chosen), tmp_path)
    assert seeds == [7, 7]


def test_a_failing_judge_leaves_its_reason_and_no_score(tmp_path, scanned):
    places = [(layer, neuron, sign) for layer in (0, 2) for neuron, sign in ((3, "+"), (8, "-"), (40, "+"))]
    entries = pl.DataFrame(places, schema=["layer", "neuron", "sign"], orient="row").with_columns(
        frequency=pl.lit(0.1), tokens=pl.lit(["a", "b"]), passes=pl.col("neuron") == 3
    )
    texts = [
        {"layer": layer, "neuron": n, "sign": sign, "threshold": 0.0, **dict.fromkeys(GROUPS, "a"), "decoy": "b"}
        for layer, n, sign in places
    ]
    settings = DictionarySettings(
        judge=Judge(),
        judging=JudgeSettings(quantiles=2, per_quantile=1, inactive=2, control=4),
        judged=6,
        steered=6,
        steering=SteeringSettings(kl=0.05, random=4),
        promoted=3,
    )
    found = examine(scanned.target, scanned.corpus, entries, texts, settings, tmp_path)
    notes = json.loads((tmp_path / "judge.json").read_text())
    assert set(notes["refused"]) == {"detection", "fuzzing"}
    assert "planted detectors" in notes["refused"]["detection"]
    assert {value for name, value in notes["control"].items() if name.startswith("detection")} == {0.5}
    assert found.metrics["judge/detection/published"] == 0.0
    assert "judge/detection/control" in found.metrics
    assert not any("ours" in name for name in found.metrics)
    assert found.scores["detection"].is_null().all()
    steered = json.loads((tmp_path / "steering.json").read_text())
    assert [(row["layer"], row["neuron"], row["sign"]) for row in steered] == places
    assert found.scores["output_score"].to_list() == pytest.approx([row["score"] for row in steered])
    assert {"output_score/decoy", "output_score/gain_random", "output_score/gain_decoy"} <= set(found.metrics)
