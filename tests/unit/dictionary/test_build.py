"""A whole dictionary of a tiny model: it goes on where it was killed, and its numbers are those of its rows."""

import json
from dataclasses import replace

import polars as pl
import pytest

from nlae.dictionary import Dictionary, parts
from nlae.dictionary.builder import DictionaryBuilder, pick_layers
from nlae.dictionary.schema import SCHEMA, SPLITS
from nlae.dictionary.subjects.neurons import Neurons
from nlae.errors import NlaeError

SETTINGS = DictionaryBuilder(
    exemplars=8, window=8, min_contexts=2, active_quantile=0.9, min_auroc=0.6, max_false=0.9, resamples=20
)


class KilledError(Exception):
    """Stands for kill −9 between two blocks."""


@pytest.fixture(scope="module")
def made(scanned):
    subjects = Neurons(scanned.scan, scanned.target)
    return lambda folder, asked=SETTINGS: asked.build(subjects, scanned.corpus, scanned.target, folder)


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return made(folder), Dictionary.open(folder)


def test_a_killed_dictionary_goes_on_and_ends_the_same(made, whole, tmp_path, monkeypatch):
    real, seen = parts.score_block, []

    def mortal(words, subjects, layer, *rest):
        seen.append(layer)
        if seen == [0, 1]:
            raise KilledError
        return real(words, subjects, layer, *rest)

    monkeypatch.setattr(parts, "score_block", mortal)
    with pytest.raises(KilledError):
        made(tmp_path)
    assert made(tmp_path) == whole[0]
    assert seen == [0, 1, 1, 2]
    assert Dictionary.open(tmp_path).frame().collect().equals(whole[1].frame().collect())
    assert made(tmp_path) == whole[0]
    assert len(seen) == 4  # nothing is made twice


def test_numbers_are_those_of_the_rows(whole):
    metrics, dictionary = whole
    table = dictionary.frame().collect()
    assert dict(table.schema) == SCHEMA
    assert table.select("layer", "neuron", "sign").is_unique().all()
    assert metrics["entries"] == len(table) == 3 * 192 * 2
    assert metrics["scored"] == table["auroc"].is_not_null().sum() > 0
    assert metrics["passing"] == table["passes"].sum() > 0
    of_b = table.filter(pl.col("split") == SPLITS[2])
    assert metrics["bag/pass_share"] == pytest.approx(of_b["passes"].mean())
    scored = of_b["auroc"].drop_nulls().sort()
    assert metrics["bag/median_auroc"] == pytest.approx(scored[(len(scored) - 1) // 2])
    assert metrics["bag/headline"] == pytest.approx(metrics["bag/pass_share"] - metrics["bag/rotated_share"])


def test_what_belongs_to_a_split_is_measured_there_alone(whole):
    table = whole[1].frame().collect()
    assert set(table["split"]) == set(SPLITS)
    per_neuron = table.group_by("layer", "neuron").agg(pl.col("split").n_unique())
    assert per_neuron["split"].max() == 1  # both signs together
    assert table.filter(pl.col("auroc_bar").is_not_null())["split"].unique().to_list() == ["A"]
    assert table.filter(pl.col("mismatched").is_not_null())["split"].unique().to_list() == ["B"]


def test_passing_entries_have_what_is_shown_of_them(whole):
    passing = whole[1].frame().filter("passes").collect()
    assert (passing["description"] != "").all()
    assert set(passing["grade"]) <= {"fair", "good", "strong", ""}
    assert set(passing["label"]) <= {"token", "context"}
    assert (passing["reason"] == "").all()
    failing = whole[1].frame().filter(~pl.col("passes")).collect()
    assert (failing["grade"] == "").all()
    assert (failing["reason"] != "").all()


def test_layers_add_up(whole):
    metrics, dictionary = whole
    lines = json.loads((dictionary.folder / "layers.json").read_text())
    assert [line["layer"] for line in lines] == [0, 1, 2]
    for name in ("entries", "scored", "passing"):
        assert sum(line[name] for line in lines) == metrics[name]


def test_without_a_rotation_nothing_is_said_of_one(made, tmp_path):
    metrics = made(tmp_path, replace(SETTINGS, rotated=False, layers=[1]))
    assert not any("rotated" in name or "headline" in name for name in metrics)
    assert "bag/pass_share" in metrics


def test_layers_are_picked_in_order_and_unknown_ones_refused():
    assert pick_layers(None, [0, 1, 2]) == [0, 1, 2]
    assert pick_layers([2, 0], [0, 1, 2]) == [0, 2]
    with pytest.raises(NlaeError, match="holds 7"):
        pick_layers([0, 7], [0, 1, 2])
