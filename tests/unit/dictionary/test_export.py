"""What others read of a dictionary: Neuronpedia's rows say what the dictionary says, and no more."""

import json

import pytest

from experiments.benchmarks.made_up import make_up_dictionary
from nlae.dictionary import neuronpedia
from nlae.dictionary.neuronpedia import export_neuronpedia


def test_neuronpedia_rows_say_what_the_dictionary_says(tmp_path, monkeypatch):
    monkeypatch.setattr(neuronpedia, "WINDOW", 4)
    made = make_up_dictionary(tmp_path / "made", layers=2, neurons=5)
    counts = export_neuronpedia(made, tmp_path, model_id="tiny")
    rows = {name: [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in counts}
    assert counts == {name: len(found) for name, found in rows.items()}
    entries = [made.at(place) for place in range(len(made))]
    sources = [(row["layer"], row["index"]) for row in rows["neurons.jsonl"]]
    assert sources == [(f"{e.layer}-mlp-{'pos' if e.sign == '+' else 'neg'}", str(e.neuron)) for e in entries]
    passing = [entry for entry in entries if entry.passes]
    explained = rows["explanations.jsonl"]
    assert [row["description"] for row in explained] == [entry.description for entry in passing]
    assert {"modelId", "layer", "index", "typeName", "explanationModelName"} <= set(explained[0])
    assert f"auroc={passing[0].auroc:.3f}" in explained[0]["notes"]
    shown = iter(rows["activations.jsonl"])
    for entry in entries:
        for document, position, value in zip(
            entry.exemplar_document, entry.exemplar_position, entry.exemplar_value, strict=True
        ):
            row = next(shown)
            assert row["tokens"][row["maxValueTokenIndex"]] == made.context(document).tokens[position]
            assert (row["maxValue"], row["valuesArePeaksOnly"]) == (pytest.approx(value), True)
            assert len(row["tokens"]) == len(row["values"]) <= 9
        for item, peak in zip(made.unseen(entry), entry.unseen_peak, strict=True):
            row = next(shown)
            assert (row["tokens"], row["values"], row["maxValueTokenIndex"]) == (item.tokens, item.values, peak)
            assert row["maxValue"] == row["values"][peak]
            assert row["valuesArePeaksOnly"] is False
    assert next(shown, None) is None
