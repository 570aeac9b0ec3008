"""What a scan finds is what a full computation over everything finds, and panels are what the model computes."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nlae.dictionary.scan import Scanner
from nlae.dictionary.scan.exemplars import Streams, peaks
from nlae.dictionary.scan.folder import Scan, layer_file
from nlae.dictionary.scan.plan import Window, calibration_windows, digest, draw_panels, make_windows, roles
from nlae.dictionary.scan.scanning import Reader
from nlae.dictionary.subjects.neurons import neurons_of
from nlae.errors import NlaeError
from nlae.target import Site, TinyTarget, capture


def plainly(target, ids, layer):
    """MLP input and neurons of one passage, read alone, float64 [T, width]."""
    into, out = Site("mlp_in", layer), Site("mlp_neurons", layer)
    with torch.no_grad(), capture(target.model, into) as inputs, capture(target.model, out) as neurons:
        target.model(torch.tensor([ids]))
    return inputs.value[0].double(), neurons.value[0].double()


def everything(target, corpus, settings, layer):
    """All training activations that count, passage by passage: {document: [T - min_position, N]}."""
    chosen = np.flatnonzero(roles(corpus) == "train")
    found = {int(d): plainly(target, corpus.input_ids(int(d)), layer)[1][settings.min_position :] for d in chosen}
    return {document: rows for document, rows in found.items() if len(rows)}


def threshold_of(scan, layer):
    return float(load_file(scan.folder / layer_file(layer))["threshold"])


@pytest.mark.parametrize("layer", [0, 2])
def test_moments_and_counts_equal_a_full_computation(scanned, layer):
    rows = torch.cat(list(everything(scanned.target, scanned.corpus, scanned.settings, layer).values()))
    found = scanned.scan.moments(layer)
    assert len(rows) == scanned.scan.n_tokens == scanned.metrics["tokens"]
    mean, std = rows.mean(0), rows.std(0, correction=0)
    z = (rows - mean) / std
    torch.testing.assert_close(found.mean.double(), mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.variance.double(), std**2, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.kurtosis.double(), (z**4).mean(0) - 3, rtol=1e-3, atol=1e-3)
    threshold = threshold_of(scanned.scan, layer)
    assert threshold == pytest.approx(float(rows.pow(2).mean().sqrt()), rel=0.2)  # of some passages only
    for sign, factor in enumerate((1, -1)):
        share = (factor * rows > threshold).double().mean(0)
        # a value at the threshold may fall on either side
        torch.testing.assert_close(found.frequency[sign].double(), share, rtol=0, atol=1.1 / len(rows))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_exemplars_equal_a_full_sort(scanned, layer):
    by_document = everything(scanned.target, scanned.corpus, scanned.settings, layer)
    documents = np.asarray(list(by_document))
    found = scanned.scan.exemplars(layer)
    k = scanned.settings.top
    for sign, factor in enumerate((1, -1)):
        best_DN = torch.stack([(factor * rows).max(0).values for rows in by_document.values()])
        expected_Nk = best_DN.T.sort(-1, descending=True).values[:, :k].clamp_min(0)
        torch.testing.assert_close(found.value[sign].double(), expected_Nk, rtol=1e-4, atol=1e-5)
        assert (found.value[sign].diff(dim=-1) <= 0).all()
        for neuron in range(0, scanned.scan.width, 17):
            for value, document, position in zip(
                found.value[sign, neuron], found.document[sign, neuron], found.position[sign, neuron], strict=True
            ):
                assert int(document) in documents
                there = by_document[int(document)][int(position) - scanned.settings.min_position, neuron]
                assert float(value) == pytest.approx(factor * float(there), rel=1e-3)
            assert len(set(found.document[sign, neuron].tolist())) == k


@pytest.mark.parametrize("role", ["bar", "select", "test", "train"])
def test_panels_hold_what_the_model_computes_there(scanned, role):
    panel = scanned.scan.panel(role)
    assert len(panel) == scanned.metrics[f"panel_{role}"] > 20
    assert (np.diff(panel.document) >= 0).all()
    assert set(roles(scanned.corpus)[panel.document]) == {role}
    for layer in (0, 2):
        inputs = scanned.scan.inputs(layer, role)
        neurons = neurons_of(scanned.target, layer, inputs)
        assert neurons.dtype == inputs.dtype == torch.float32
        assert neurons.shape == (len(panel), scanned.scan.width)
        for row in range(0, len(panel), 11):
            ids = scanned.corpus.input_ids(int(panel.document[row]))
            assert panel.token_id[row] == ids[panel.position[row]]
            assert panel.source[row] == scanned.corpus.source[int(panel.document[row])]
            into, out = plainly(scanned.target, ids, layer)
            torch.testing.assert_close(neurons[row].double(), out[panel.position[row]], rtol=2e-3, atol=2e-3)
            torch.testing.assert_close(inputs[row].double(), into[panel.position[row]], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("role", "size"), [("train", 1), ("select", 4), ("bar", 4), ("test", 12)])
def test_panels_are_runs_of_consecutive_positions(scanned, role, size):
    panel = scanned.scan.panel(role)
    assert (np.diff(panel.run) >= 0).all()
    assert sorted(set(panel.run.tolist())) == list(range(int(panel.run[-1]) + 1))
    per_passage = {}
    for run in range(int(panel.run[-1]) + 1):
        rows = np.flatnonzero(panel.run == run)
        (document,) = set(panel.document[rows].tolist())
        assert (np.diff(panel.position[rows]) == 1).all()
        assert panel.position[rows[0]] >= scanned.settings.min_position
        whole = len(scanned.corpus.input_ids(document)) - scanned.settings.min_position
        assert len(rows) == min(size, whole)
        per_passage.setdefault(document, []).append(len(rows))
    most = max(1, scanned.settings.per_passage // size)
    assert max(len(runs) for runs in per_passage.values()) == most
    assert len(set(zip(panel.document.tolist(), panel.position.tolist(), strict=True))) == len(panel)
    assert scanned.settings.rows(role) - size < len(panel) <= scanned.settings.rows(role)
    assert len(set(panel.source.tolist())) > 1


def test_a_panel_smaller_than_its_run_is_one_shorter_run(invented):
    panel = draw_panels(invented, Scanner(min_position=4, panels={"test": 5}), 0)["test"]
    assert len(panel) == 5
    assert set(panel.run.tolist()) == {0}


def test_the_size_of_windows_changes_nothing_but_rounding(tmp_path, scanned):
    other = dataclasses.replace(scanned.settings, window_tokens=90)
    panels = draw_panels(scanned.corpus, scanned.settings, 1)
    few, many = (make_windows(scanned.corpus, panels, settings) for settings in (scanned.settings, other))
    assert len(many) > 2 * len(few)
    assert digest(many, panels) == digest(few, panels)
    passages = [
        sorted(d for w in calibration_windows(scanned.corpus, s) for d in w.documents)
        for s in (other, scanned.settings)
    ]
    assert passages[0] == passages[1]
    other.scan(scanned.target, scanned.corpus, tmp_path, seed=1)
    found, whole = Scan.open(tmp_path), scanned.scan
    assert found.facts == whole.facts
    for layer in whole.layers:
        for role in ("train", "test"):
            left, right = found.inputs(layer, role), whole.inputs(layer, role)
            torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)
        mine, theirs = found.moments(layer), whole.moments(layer)
        assert threshold_of(found, layer) == pytest.approx(threshold_of(whole, layer), rel=1e-5)
        torch.testing.assert_close(mine.kurtosis, theirs.kurtosis, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.exemplars(layer).value, whole.exemplars(layer).value, rtol=1e-4, atol=1e-5)
        same = found.exemplars(layer).document == whole.exemplars(layer).document
        assert same.double().mean() > 0.98, "like contexts change places where rounding decides between them"


def test_among_equals_the_passage_that_is_read_first_stays():
    """Half precision has many equals; blocks and windows of any size keep the same of them."""
    x_BTN = torch.randint(0, 3, (24, 6, 40), generator=torch.Generator().manual_seed(0)).float()
    x_BTN[:, :, 0] = 1
    kept = []
    for size in (24, 5, 1):
        streams = Streams(1, 40, 4)
        for start in range(0, 24, size):
            documents = tuple(range(100 + start, min(100 + start + size, 124)))
            nothing = np.zeros(0, dtype=np.int64)
            window = Window("train", documents, (6,) * len(documents), nothing, nothing.reshape(0, 2))
            document_B = torch.tensor(documents, dtype=torch.int32)
            streams.update(0, x_BTN[start : start + size], window.padding(2), document_B)
        kept.append(streams.tensors)
    for tensors in kept[1:]:
        for name in ("value", "document", "position", "count"):
            assert torch.equal(tensors[name], kept[0][name])
    assert kept[0]["document"][0, 0, 0].tolist() == [100, 101, 102, 103]
    assert kept[0]["position"][0, 0, 0].tolist() == [2, 2, 2, 2]


def test_padding_counts_nowhere(invented):
    streams, lengths = Streams(1, 3, 2), (9, 6, 5)
    nothing = np.zeros(0, dtype=np.int64)
    padding_BT = Window("train", (1, 2, 3), lengths, nothing, nothing.reshape(0, 2)).padding(4)
    x_BTN = torch.full((3, 9, 3), 50.0)
    for index, length in enumerate(lengths):
        x_BTN[index, 4:length] = -1.0
    streams.update(0, x_BTN, padding_BT, torch.tensor([1, 2, 3], dtype=torch.int32))
    assert int((~padding_BT).sum()) == 8
    assert streams.tensors["count"][0].tolist() == [[0, 0, 0], [8, 8, 8]]
    assert streams.tensors["power"][0].tolist() == [[-8.0] * 3, [8.0] * 3, [-8.0] * 3, [8.0] * 3]
    assert not streams.tensors["value"][0, 0].any()
    assert streams.tensors["document"][0, 1, 0].tolist() == [1, 2]
    assert streams.tensors["position"][0, 1, 0].tolist() == [4, 4]


@pytest.mark.parametrize("length", [3, 255, 256, 300])
def test_peaks_are_the_first_maximum_of_either_sign(length):
    x = torch.randn(2, length, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    value, position = peaks(x)
    for sign, factor in enumerate((1, -1)):
        expected = (factor * x).max(1)
        assert torch.equal(value[sign], expected.values)
        assert torch.equal(position[sign].long(), expected.indices)


def test_a_sign_that_never_shows_has_no_exemplar(tmp_path, invented):
    target = TinyTarget(layers=2).load()
    target.architecture.mlp(target.architecture.blocks(target.model)[1]).act_fn = torch.nn.ReLU()
    up = target.architecture.mlp(target.architecture.blocks(target.model)[1]).up_proj
    up.weight.data.zero_()
    Scanner(min_position=4, panels={"train": 10}).scan(target, invented, tmp_path)
    found = Scan.open(tmp_path).exemplars(1)
    assert not found.value.any()
    assert (found.document == -1).all()
    assert (found.position == -1).all()
    assert not Scan.open(tmp_path).moments(1).kurtosis.any()


@pytest.mark.parametrize("scale", [1e-7, 1e6])
def test_panels_neither_overflow_nor_vanish_in_float16(tmp_path, invented, scale):
    target = TinyTarget(layers=2).load()
    target.architecture.blocks(target.model)[1].post_attention_layernorm.weight.data.mul_(scale)
    target.architecture.mlp(target.architecture.blocks(target.model)[1]).up_proj.weight.data.div_(scale)
    settings = Scanner(min_position=4, window_tokens=256, panels={"train": 60})
    settings.scan(target, invented, tmp_path)
    panel = Scan.open(tmp_path).panel("train")
    inputs = Scan.open(tmp_path).inputs(1, "train")
    assert torch.isfinite(inputs).all()
    for row in range(0, len(panel), 9):
        expected = plainly(target, invented.input_ids(int(panel.document[row])), 1)[0][panel.position[row]]
        torch.testing.assert_close(inputs[row].double(), expected, rtol=1e-3, atol=1e-6 * float(expected.abs().max()))


def test_activations_that_overflow_are_an_error(tmp_path, invented):
    target = TinyTarget(layers=2).load()
    target.architecture.mlp(target.architecture.blocks(target.model)[1]).up_proj.weight.data.mul_(1e30)
    with pytest.raises(NlaeError, match="layer 1 is not finite"):  # the fourth power is beyond float32
        Scanner(min_position=4).scan(target, invented, tmp_path)


@pytest.mark.parametrize(
    "family", sorted(["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2", "gpt_neox"])
)
def test_every_family_is_read_where_the_sites_say(tmp_path, invented, family):
    target = TinyTarget(family=family, layers=2).load()
    settings = Scanner(top=3, min_position=4, panels={"train": 40})
    settings.scan(target, invented, tmp_path)
    found = Scan.open(tmp_path)
    panel = found.panel("train")
    for layer in found.layers:
        into = found.inputs(layer, "train")
        out = neurons_of(target, layer, into, batch=17)
        for row in range(0, len(panel), 13):
            ids = invented.input_ids(int(panel.document[row]))
            inputs, neurons = plainly(target, ids, layer)
            torch.testing.assert_close(into[row].double(), inputs[panel.position[row]], rtol=2e-3, atol=2e-3)
            torch.testing.assert_close(out[row].double(), neurons[panel.position[row]], rtol=2e-3, atol=2e-3)
        best = found.exemplars(layer)
        ids = invented.input_ids(int(best.document[1, 7, 0]))
        there = plainly(target, ids, layer)[1][int(best.position[1, 7, 0]), 7]
        assert float(best.value[1, 7, 0]) == pytest.approx(-float(there), rel=1e-3)


def test_half_precision_targets_are_scanned_in_float32_sums(tmp_path, invented):
    target = TinyTarget(layers=2).load(dtype="bfloat16")
    Scanner(min_position=4, panels={"train": 40}).scan(target, invented, tmp_path)
    found = Scan.open(tmp_path)
    assert found.facts["dtype"] == "bfloat16"
    values = found.exemplars(0).value
    assert torch.equal(values, values.bfloat16().float())
    assert torch.isfinite(found.moments(0).kurtosis).all()


def test_a_finished_scan_is_not_read_again(tmp_path, scanned, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in scanned.scan.folder.iterdir()}
    monkeypatch.setattr(Reader, "read", lambda *_: pytest.fail("read again"))
    again = dataclasses.replace(scanned.settings, checkpoint_every=1)
    assert again.scan(scanned.target, scanned.corpus, scanned.scan.folder, seed=1) == scanned.metrics
    assert {path.name: path.stat().st_mtime_ns for path in scanned.scan.folder.iterdir()} == before


def test_opening_what_is_not_there_is_an_error(tmp_path, scanned):
    with pytest.raises(NlaeError, match="missing or damaged"):
        Scan.open(tmp_path)
    with pytest.raises(NlaeError, match="unknown"):
        scanned.scan.panel("report")


def test_too_short_text_is_an_error(tmp_path, invented):
    with pytest.raises(NlaeError, match="min_position=900"):
        Scanner(min_position=900).scan(TinyTarget(layers=2).load(), invented, tmp_path)
