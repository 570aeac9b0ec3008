"""Directions in the place of neurons: what is read of them, and a whole dictionary of a small sparse autoencoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from nlae.cli import main
from nlae.dictionary import Dictionary
from nlae.dictionary.columns import read_layer
from nlae.dictionary.corpus_view import CorpusView
from nlae.dictionary.describe.candidates import Sample
from nlae.dictionary.describe.texts import WITHOUT, WRITE, Request, VectorMaker
from nlae.dictionary.direction_scan import DirectionScan, promoted_by
from nlae.dictionary.directions import Directions, named_site
from nlae.dictionary.job import Job, _facts
from nlae.dictionary.scan import promoted
from nlae.dictionary.scan.decoys import token_counts
from nlae.dictionary.settings import DictionarySettings
from nlae.errors import NlaeError
from nlae.stages.dictionary import check
from nlae.target import Site

D, N = 64, 24  # the tiny target's width, and the features of the autoencoder


def saelens(folder: Path, layer: int = 1, factor_n: torch.Tensor | None = None) -> Path:
    """`factor_n` rescales the decoder's rows, and the encoder so that the features are the same."""
    folder.mkdir(parents=True)
    factor_n = torch.ones(N) if factor_n is None else factor_n
    draw = torch.Generator().manual_seed(0)
    write_nd = F.normalize(torch.randn(N, D, generator=draw), dim=-1)
    weights = {"W_enc": (write_nd.T / factor_n).contiguous(), "W_dec": write_nd * factor_n[:, None]}
    weights |= {"b_enc": torch.zeros(N), "b_dec": torch.zeros(D)}
    save_file(weights, str(folder / "sae_weights.safetensors"))
    hook = {"hook_name": f"blocks.{layer}.hook_resid_post"}
    settings = {"architecture": "standard", "d_in": D, "d_sae": N, "normalize_activations": "none", "metadata": hook}
    (folder / "cfg.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def read(scanned, tmp_path_factory):
    found = Directions.load(saelens(tmp_path_factory.mktemp("sae") / "sae"), D)
    counts = token_counts(scanned.corpus)
    return DirectionScan.read(scanned.scan, found, scanned.target, scanned.corpus, counts, 0)


def test_a_panel_holds_what_the_encoder_says_at_its_tokens(read, scanned):
    panel = read.panel("train")
    assert panel.neurons(1).shape == (len(panel), N)
    for row in (0, len(panel) // 2, len(panel) - 1):
        ids = torch.tensor([scanned.corpus.input_ids(int(panel.document[row]))])
        with torch.no_grad():
            hidden = scanned.target.model(ids, output_hidden_states=True).hidden_states[2][0, panel.position[row]]
        torch.testing.assert_close(panel.inputs(1)[row], hidden, atol=1e-4, rtol=1e-4)
        said = (hidden @ read.directions.write_nd.T).relu()
        torch.testing.assert_close(panel.neurons(1)[row], said, atol=1e-4, rtol=1e-4)


def assert_same(one, other):
    for name, value in vars(one).items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(getattr(other, name))), name


def test_rescaled_rows_give_the_same_values_contexts_vectors_and_tokens(read, scanned, tmp_path):
    # powers of two, so that nothing is rounded and all that follows is equal to the last bit
    factor_n = 2.0 ** torch.arange(-12, 12)
    found = Directions.load(saelens(tmp_path / "sae", factor_n=factor_n), D)
    counts = token_counts(scanned.corpus)
    other = DirectionScan.read(scanned.scan, found, scanned.target, scanned.corpus, counts, 0)
    for role in ("train", "select", "decide", "report"):
        assert torch.equal(other.panel(role).neurons(1), read.panel(role).neurons(1))
    assert torch.equal(other.unit_nd, read.unit_nd)
    for decoy in (False, True):
        assert_same(other.exemplars(1, decoy), read.exemplars(1, decoy))
    assert_same(other.moments(1), read.moments(1))
    sides = [promoted_by(scanned.target, scan.site, scan.directions.write_nd, 5) for scan in (read, other)]
    for one, same in zip(*sides, strict=True):
        assert torch.equal(one, same)


def test_exemplars_are_the_strongest_passages_of_the_training_panel(read):
    panel, exemplars = read.panel("train"), read.exemplars(1)
    for feature in range(N):
        value_M = panel.neurons(1)[:, feature]
        best = {int(d): float(value_M[torch.from_numpy(panel.document == d)].max()) for d in np.unique(panel.document)}
        wanted = sorted((value for value in best.values() if value > 0), reverse=True)[:5]
        assert exemplars.value[0, feature, : len(wanted)].tolist() == pytest.approx(wanted)
        assert best[int(exemplars.document[0, feature, 0])] == pytest.approx(wanted[0])
    assert (exemplars.document[1] == -1).all(), "a feature is never negative"
    decoy = read.exemplars(1, decoy=True)
    assert not torch.equal(decoy.document, exemplars.document)


def test_moments_are_those_of_the_training_panel(read):
    value_MN, moments = read.panel("train").neurons(1).double(), read.moments(1)
    torch.testing.assert_close(moments.mean.double(), value_MN.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moments.variance.double(), value_MN.var(0, correction=0), atol=1e-4, rtol=1e-4)
    assert moments.threshold == pytest.approx(float(value_MN.square().mean().sqrt()))
    assert moments.frequency[1].eq(0).all()


def test_decoys_of_what_is_never_negative_have_one_sign_as_their_entries_have(read, scanned, tmp_path):
    settings = DictionarySettings(cluster_quantile=0.0)  # everything is alike, so that all that fires is specialised
    counts = token_counts(scanned.corpus)
    data = read_layer(read, 1, counts, count=16, quantile=0.99, rotated=0, seed=0)
    view = CorpusView(scanned.corpus, scanned.target.tokenizer)
    ids = torch.zeros(2, 2, N, 1, dtype=torch.long)
    job = Job(read, view, None, settings, lambda layer: (ids, ids), tmp_path, {1: Sample.none()})
    found = _facts(job, data, read.exemplars(1), Sample.none(), None, None)
    assert found.signs == 1
    assert found.specialised[0].all()
    assert found.specialised_decoy == 1.0


def test_a_direction_moves_as_a_neuron_does_along_its_own_axis():
    train_MN, report_MN = torch.randn(2, 40, 6, generator=torch.Generator().manual_seed(0))
    one, other = VectorMaker.of(train_MN, report_MN), VectorMaker.of(train_MN, report_MN, torch.eye(6))
    for request in (Request(WITHOUT, 3, 2, 1), Request(WRITE, -1, 4, -1)):
        torch.testing.assert_close(one(request), other(request))
    turned = F.normalize(torch.ones(1, 6), dim=-1)
    without_N = VectorMaker.of(train_MN, report_MN, turned)(Request(WITHOUT, 3, 0, 1))
    assert float(without_N @ turned[0]) == pytest.approx(float(train_MN.mean(0) @ turned[0]), abs=1e-5)


def test_a_neurons_write_vector_promotes_the_same_as_a_direction(scanned):
    down_DN = scanned.target.model.model.layers[1].mlp.down_proj.weight.detach()
    wanted_ids, wanted = promoted(scanned.target, 1, 3)
    for site, write in ((Site("mlp_out", 1), down_DN.T), (Site("mlp_neurons", 1), torch.eye(down_DN.shape[1]))):
        ids, weights = promoted_by(scanned.target, site, write, 3)
        torch.testing.assert_close(weights, wanted)
        assert (ids == wanted_ids).float().mean() > 0.99
    assert promoted_by(scanned.target, Site("mlp_in", 1), down_DN.T, 3)[0].shape == (2, 2, len(down_DN.T), 0)


def config(path: Path, **site) -> dict:
    return {"dictionary": {"directions": str(path)}, "site": site}


def test_directions_at_another_site_than_the_autoencoders_are_refused_before_it_is_trained(tmp_path: Path):
    path = saelens(tmp_path / "sae")
    assert named_site(path) == Site("resid", 1)
    check(config(path, kind="resid", layer=1))
    check(config(path, kinds=["mlp_in", "resid"], layers=[0, 1]))
    check({"dictionary": {}, "site": {}})
    for site in ({"kind": "resid", "layer": 2}, {"kinds": ["mlp_in", "mlp_neurons"], "layers": [1, 2]}):
        with pytest.raises(NlaeError, match="site=resid site.layer=1"):
            check(config(path, **site))
    bare = tmp_path / "bare.safetensors"
    save_file({"directions": torch.zeros(1, D)}, str(bare))
    with pytest.raises(NlaeError, match="does not name its site"):
        check(config(bare, kind="resid", layer=1))


@pytest.mark.parametrize(
    ("more", "line"), [({"layers": [1]}, "layers"), ({"steered": 3}, "steered"), ({"judge": 1}, "judged")]
)
def test_what_directions_cannot_have_is_refused(more, line):
    with pytest.raises(NlaeError, match=line):
        DictionarySettings(directions="sae", **more)


@pytest.mark.slow
def test_a_sparse_autoencoder_gets_a_dictionary(tmp_path: Path, capsys):
    path = saelens(tmp_path / "sae")
    words = ["dictionary", "target=tiny", "debug=smoke", "logger=none", f"dictionary.directions={path}"]
    words += ["evaluation.subject=warmstart", f"paths.artifacts={tmp_path / 'artifacts'}"]
    assert main(words) == 2
    assert "site=resid site.layer=1" in capsys.readouterr().err
    assert main([*words, "site=resid", "site.layer=1"]) == 0
    found = Dictionary.open(capsys.readouterr().out.splitlines()[-1])
    table = found.frame().collect()
    assert table["neuron"].to_list() == list(range(N))
    assert set(table["sign"]) == {"+"}
    assert set(table["layer"]) == {1}
    assert found.facts["site"] == "resid.1"
    assert found.facts["directions"] == "sae"
    assert table["prediction"].is_not_null().any()
    assert table["r2_ceiling"].median() > 0.5, "a linear map reads most of a feature from the vector itself"
    assert table["tokens"].list.len().min() > 0
    assert table["promoted"].list.len().min() > 0
    (entry,) = found.neuron(1, 3)
    assert entry.exemplar_value == sorted(entry.exemplar_value, reverse=True)
    assert found.layers[0]["entries"] == N
