"""The whole dictionary on a model whose neurons are known, on the same model untouched, and after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from scipy.stats import binom

import planted
from nlae.dictionary import Dictionary
from nlae.dictionary.build import build_dictionary
from nlae.dictionary.settings import DictionarySettings
from nlae.errors import NlaeError

POLYSEMANTIC, THEMES = planted.POLYSEMANTIC, planted.THEMES
pytestmark = pytest.mark.slow
SETTINGS = DictionarySettings(
    contexts_per_layer=16,
    sample=384,
    both_signs=True,
    own=("context",),
    rotated=64,
    readable_rows=0,
    active_quantile=0.96,
    min_passages=5,
    candidates=2,
    batch_size=8,
    neutral=None,
)


def against_neutral(speaker, scan, **changes):
    """Settings in which "nothing in particular" is what the speaker says of the mean."""
    return replace(SETTINGS, neutral=planted.neutral(speaker, scan), **changes)


def make(target, corpus, scan, folder, speaker=None, settings=None):
    speaker = speaker or planted.speaker(target, scan)
    metrics = build_dictionary(
        scan,
        corpus,
        speaker,
        target.tokenizer,
        planted.writes(target),
        folder,
        settings=settings or against_neutral(speaker, scan),
        layers=[0],
        max_tokens=planted.PROMPT.max_tokens,
        target="planted",
    )
    return metrics, Dictionary.open(folder)


@pytest.fixture(scope="module")
def wired(tmp_path_factory):
    target = planted.source().load()
    planted.plant(target)
    folder = tmp_path_factory.mktemp("wired")
    return (target, *planted.scanned(target, folder))


@pytest.fixture(scope="module")
def found(wired, tmp_path_factory):
    return make(*wired, tmp_path_factory.mktemp("dictionary"))


def test_planted_detectors_are_found_and_described_rightly(wired, found):
    themes, _ = planted.vocabulary(wired[0].tokenizer)
    table = found[1].overview.filter((pl.col("neuron") < POLYSEMANTIC) & (pl.col("sign") == "+"))
    passing = table.filter("passes").rows(named=True)
    assert len(passing) >= 0.6 * POLYSEMANTIC
    wrong = [row["description"] for row in passing if themes[row["neuron"] % THEMES] not in row["description"]]
    assert wrong == []
    reported = [row for row in passing if row["prediction"] is not None]  # some do not fire often enough there
    assert len(reported) > 0.7 * len(passing)
    # they were chosen on other works: most must hold there too
    assert sum(row["last_token"] + 0.05 <= row["prediction"] for row in reported) > 0.8 * len(reported)
    assert table["prediction"].median() > 0.85


def test_nothing_else_passes(found):
    rest = found[1].overview.filter((pl.col("neuron") > POLYSEMANTIC) | (pl.col("sign") == "-"))
    assert rest["passes"].mean() <= 0.02


def test_nulls_stay_below_two_percent_and_below_the_rate(found):
    metrics = found[0]
    for null in ("decoy", "rotated", "shuffled"):
        assert metrics[f"pass_rate/{null}"] <= 0.02
    allowed = SETTINGS.fdr * metrics["pass_rate"]
    for null, tried in (("decoy", 2 * SETTINGS.rotated), ("shuffled", metrics["entries"])):
        passed = round(metrics[f"pass_rate/{null}"] * tried)
        assert binom.sf(passed - 1, tried, allowed) > 0.05, f"{passed} of {tried} {null} descriptions pass"


def test_the_polysemantic_neuron_is_told_from_the_detectors(found):
    table = found[1].overview.filter(pl.col("sign") == "+")
    both = table.row(by_predicate=pl.col("neuron") == POLYSEMANTIC, named=True)
    assert both["clusters"] >= 2
    assert not both["specialised"]
    assert table.filter(pl.col("neuron") < POLYSEMANTIC)["specialised"].mean() > 0.8


def test_a_model_with_random_weights_has_no_entry_that_passes(tmp_path):
    target = planted.source().load()
    metrics, dictionary = make(target, *planted.scanned(target, tmp_path), tmp_path / "dictionary")
    assert metrics["scored"] > 500
    assert metrics["pass_rate"] <= 0.02
    assert set(dictionary.overview["description"]) == {"no description found"}


class KilledError(Exception):
    """Stands for kill −9 between two batches."""


class Mortal:
    """A real speaker that dies after some batches, or counts them."""

    def __init__(self, speaker, batches):
        self.speaker, self.left, self.calls = speaker, batches, 0
        self.read, self.rebuild, self.inject = speaker.read, speaker.rebuild, speaker.inject

    def write(self, layer, activation, seeds, site):
        self.calls += 1
        if self.left == 0:
            raise KilledError
        self.left -= 1
        return self.speaker.write(layer, activation, seeds, site)


def test_a_killed_dictionary_goes_on_and_ends_the_same(wired, tmp_path):
    speaker = planted.speaker(wired[0], wired[2])
    own = ("with", "without", "write", "context")
    settings = against_neutral(speaker, wired[2], sample=6, own=own, readable_rows=8)
    whole = Mortal(speaker, -1)
    metrics, dictionary = make(*wired, tmp_path / "whole", whole, settings)
    with pytest.raises(KilledError):
        make(*wired, tmp_path / "killed", Mortal(speaker, 3), settings)
    (texts,) = (tmp_path / "killed" / "layers").glob("*.jsonl")
    with texts.open("a", encoding="utf-8") as file:
        file.write('{"kind": "shared", "context"')  # a line that the kill cut short
    rest = Mortal(speaker, -1)
    again, resumed = make(*wired, tmp_path / "killed", rest, settings)
    assert rest.calls == whole.calls - 3
    assert again == metrics
    assert resumed.frame().collect().equals(dictionary.frame().collect())
    done = Mortal(speaker, 0)
    assert make(*wired, tmp_path / "killed", done, settings)[0] == metrics
    assert done.calls == 0
    origins = set(dictionary.overview["origin"])
    assert origins & {"shared", "consensus"}
    assert dictionary.overview["r2"].is_not_null().mean() > 0.9
    assert dictionary.overview["r2_ceiling"].is_not_null().mean() > 0.9
    assert 0 < metrics["r2_ceiling"] < 1


def test_the_mean_reading_of_the_shared_texts_can_stand_for_nothing_in_particular(wired, found, tmp_path):
    said, _ = make(*wired, tmp_path, settings=SETTINGS)
    assert said["scored"] == found[0]["scored"]
    # nearly all shared texts are one text here, so their mean is what it says
    assert said["prediction"] == pytest.approx(found[0]["prediction"], abs=0.05)
    assert said["passing"] > 0


def test_a_layer_that_the_target_lacks_is_told(wired, tmp_path: Path):
    target, corpus, scan = wired
    with pytest.raises(NlaeError, match="no layer 7"):
        build_dictionary(
            scan,
            corpus,
            planted.speaker(target, scan),
            target.tokenizer,
            planted.writes(target),
            tmp_path,
            settings=SETTINGS,
            layers=[0, 7],
            max_tokens=3,
            target="planted",
        )


def test_facts_and_layers_are_plain_numbers(found):
    layers = json.loads((found[1].folder / "layers.json").read_text())
    assert layers[0]["entries"] == layers[0]["neurons"] * 2 == len(found[1])
    assert sum(layers[0]["reasons"].values()) + layers[0]["passing"] == len(found[1])
    assert found[1].facts["target"] == "planted"
