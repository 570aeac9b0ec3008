import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from nlae.dictionary.entries import Dictionary
from nlae.dictionary.export import export_delphi, export_neuronpedia, read_delphi
from nlae.dictionary.made_up import make_up_dictionary
from nlae.errors import NlaeError


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Dictionary:
    return make_up_dictionary(tmp_path_factory.mktemp("made-up"), layers=2, neurons=5, documents=12)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def token_ids(dictionary: Dictionary) -> Any:
    """Numbers instead of the made-up tokens, different for every passage and position."""
    return lambda document: [1000 * document + place + 1 for place in range(len(dictionary.context(document).tokens))]


def test_neuronpedia_rows_say_what_the_dictionary_says(dictionary, tmp_path):
    counts = export_neuronpedia(dictionary, tmp_path, model_id="tiny", window=4)
    entries = [dictionary.at(place) for place in range(len(dictionary))]
    passing = [entry for entry in entries if entry.passes]
    assert 0 < len(passing) < len(entries)
    assert counts["neurons.jsonl"] == len(entries)
    explained = rows(tmp_path / "explanations.jsonl")
    assert [(r["layer"], r["index"], r["description"]) for r in explained] == [
        (f"{e.layer}-mlp-{'pos' if e.sign == '+' else 'neg'}", str(e.neuron), e.description) for e in passing
    ]
    assert {"modelId", "layer", "index", "description", "typeName", "explanationModelName"} <= set(explained[0])
    shown = iter(rows(tmp_path / "activations.jsonl"))
    for entry in entries:
        places = zip(entry.exemplar_document, entry.exemplar_position, entry.exemplar_value, strict=True)
        for document, position, value in places:
            row = next(shown)
            tokens = dictionary.context(document).tokens
            assert row["index"] == str(entry.neuron)
            assert row["tokens"][row["maxValueTokenIndex"]] == tokens[position]
            assert row["values"][row["maxValueTokenIndex"]] == pytest.approx(value)
            assert len(row["tokens"]) == len(row["values"]) <= 9
    assert next(shown, None) is None


def test_delphi_cache_round_trip(dictionary, tmp_path):
    ids = token_ids(dictionary)
    done = export_delphi(dictionary, tmp_path, ids, model_name="tiny", context=8, splits=3)
    assert done["layers"] == 2
    for layer in (0, 1):
        module = tmp_path / f"layers.{layer}.mlp"
        locations, activations, tokens = read_delphi(module)
        found = {
            (int(latent), int(tokens[row, place])): float(value)
            for (row, place, latent), value in zip(locations, activations, strict=True)
        }
        wanted = {}
        for neuron in range(5):
            for offset, entry in enumerate(dictionary.neuron(layer, neuron)):
                places = zip(entry.exemplar_document, entry.exemplar_position, entry.exemplar_value, strict=True)
                for document, position, value in places:
                    if value > 0:
                        wanted[2 * neuron + offset, ids(document)[position]] = float(np.float16(value))
        assert found == wanted
        assert wanted
        assert tokens.shape[1] == 8


def test_delphi_files_have_the_names_and_types_that_its_loader_expects(dictionary, tmp_path):
    export_delphi(dictionary, tmp_path, token_ids(dictionary), model_name="tiny", context=8, splits=3)
    module = tmp_path / "layers.0.mlp"
    names = sorted(path.stem for path in module.glob("*.safetensors"))
    edges = sorted(tuple(int(part) for part in name.split("_")) for name in names)
    assert edges[0][0] == 0
    assert edges[-1][1] == 9  # 5 neurons with two signs
    assert all(later[0] == earlier[1] + 1 for earlier, later in pairwise(edges))
    part = load_file(module / f"{names[0]}.safetensors")
    assert set(part) == {"locations", "activations", "tokens"}
    assert part["locations"].dtype == np.uint16
    assert part["activations"].dtype == np.float16
    config = json.loads((module / "config.json").read_text())
    assert config["model_name"] == "tiny"
    assert config["exemplars_only"] is True


def test_reading_no_cache_is_one_line(tmp_path):
    with pytest.raises(NlaeError, match="no latent cache here"):
        read_delphi(tmp_path)
