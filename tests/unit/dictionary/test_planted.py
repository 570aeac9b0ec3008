"""The whole dictionary on a model whose neurons are known, and on the same model untouched."""

import json

import polars as pl
import pytest
import torch

import planted
from nlae.dictionary import Dictionary
from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.subjects.neurons import Neurons
from nlae.dictionary.words.phrase import parse

pytestmark = pytest.mark.slow
# a tiny model has few dimensions, so that a few words tell something of any direction: the bar is high
SETTINGS = DictionaryBuilder(
    min_auroc=0.95,
    min_contexts=10,
    exemplars=24,
    shrinkage=(0.3,),
    penalty=(30.0,),
    weights=((1.0, 1.0, 1.0),),
    resamples=50,
)


def made(target, folder):
    corpus, scan = planted.scanned(target, folder)
    facts = {"target": "planted", "n_layers": 1, "scanned_tokens": scan.n_tokens}
    metrics = SETTINGS.build(Neurons(scan, target), corpus, target, folder / "dictionary", facts)
    return metrics, Dictionary.open(folder / "dictionary")


@pytest.fixture(scope="module")
def wired(tmp_path_factory):
    target = planted.source().load()
    planted.plant(target)
    return planted.detected(target.tokenizer), *made(target, tmp_path_factory.mktemp("wired"))


def detectors(wired, kind):
    """Rows of one kind of detector, and those among them that could be scored."""
    rows = wired[2].frame().filter(pl.col("sign") == "+", pl.col("neuron").is_in(list(kind))).collect()
    return rows.rows(named=True), rows.filter(pl.col("auroc").is_not_null())


def named(description):
    """Every word of a description."""
    return {word for phrase in parse(description) for words in phrase for word in words}


@pytest.mark.parametrize("kind", [planted.TOKEN, planted.CONTEXT, planted.EITHER])
def test_detectors_are_found_and_described_with_their_words(wired, kind):
    rows, scored = detectors(wired, kind)
    assert len(scored) >= 0.75 * len(rows)  # some fire in too few test works
    assert scored["passes"].mean() >= 0.85
    assert scored["auroc"].median() > 0.97
    right = [named(row["description"]) >= set(wired[0][row["neuron"]]) for row in rows]
    assert sum(right) >= 0.7 * len(rows)  # themes stand near many contexts, and such words are not said to


def test_what_fires_on_its_last_token_says_no_more_than_that(wired):
    _, scored = detectors(wired, planted.TOKEN)
    passing = scored.filter("passes")
    assert (passing["label"] == "token").mean() >= 0.8
    assert passing["last_token"].min() > 0.95
    assert all(row["tokens"][0].strip() == wired[0][row["neuron"]][0] for row in passing.rows(named=True))


@pytest.mark.parametrize("kind", [planted.CONTEXT, planted.EITHER])
def test_what_fires_on_words_before_says_more_than_its_last_token(wired, kind):
    _, scored = detectors(wired, kind)
    passing = scored.filter("passes")
    assert (passing["label"] == "context").mean() >= 0.8
    assert passing["last_token"].median() < 0.7


def test_two_meanings_are_told_from_one(wired):
    (_, one), (_, two) = detectors(wired, planted.TOKEN), detectors(wired, planted.EITHER)
    assert one["specialised"].mean() > 0.8
    assert two["specialised"].mean() < 0.6
    assert (two["groups"] >= 2).mean() > 0.4


def test_signs_that_never_fire_have_no_words_and_do_not_pass(wired):
    rows = wired[2].frame().filter(pl.col("sign") == "-", pl.col("neuron") < planted.TOKEN.stop).collect()
    assert not rows["passes"].any()
    assert set(rows["reason"]) == {"few contexts"}


def test_hardly_anything_else_passes_and_rotated_columns_do_not(wired):
    rest = wired[2].frame().filter(pl.col("neuron") >= planted.TOKEN.stop).collect()
    assert rest["auroc"].is_not_null().mean() > 0.9
    assert rest["passes"].mean() <= 0.08
    assert wired[1]["bag/rotated_share"] <= 0.08
    assert wired[1]["bag/false_share"] <= 0.1


def test_of_random_weights_hardly_anything_passes(tmp_path):
    metrics, dictionary = made(planted.source().load(), tmp_path)
    table = dictionary.frame().filter(pl.col("auroc").is_not_null()).collect()
    assert len(table) > 1000
    assert metrics["passing_share"] <= 0.06
    assert (table["label"] == "context").mean() <= 0.02


def test_facts_and_layers_are_plain_numbers(wired):
    metrics, dictionary = wired[1:]
    (line,) = json.loads((dictionary.folder / "layers.json").read_text())
    assert line["entries"] == line["neurons"] * 2 == len(dictionary) == metrics["entries"]
    assert line["passing"] == metrics["passing"]
    assert line["token_share"] + line["context_share"] == pytest.approx(line["pass_share"])
    assert dictionary.facts["target"] == "planted"
    assert dictionary.facts["bar"] == pytest.approx(metrics["bar"])
    assert metrics["bag/headline"] == pytest.approx(metrics["bag/pass_share"] - metrics["bag/rotated_share"])
    assert metrics["bag/headline_low"] < metrics["bag/headline_high"]
    assert torch.tensor(list(metrics.values())).isfinite().all()
