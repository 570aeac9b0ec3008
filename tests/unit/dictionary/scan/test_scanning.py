"""What a scan finds is what a full computation over everything finds, and panels are what the model computes."""

import dataclasses

import numpy as np
import pytest
import torch

from nlae.dictionary.scan import Scan, ScanSettings, roles, scan
from nlae.dictionary.scan.panels import draw_panels
from nlae.dictionary.scan.reading import make_reading, token_ids
from nlae.dictionary.scan.scanning import Reader
from nlae.dictionary.scan.streams import Streams, peaks
from nlae.dictionary.scan.windows import make_windows
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


@pytest.mark.parametrize("layer", [0, 2])
def test_moments_and_counts_equal_a_full_computation(scanned, layer):
    rows = torch.cat(list(everything(scanned.target, scanned.corpus, scanned.settings, layer).values()))
    found = scanned.scan.moments(layer)
    assert found.n == len(rows) == scanned.scan.n_tokens == scanned.metrics["tokens"]
    mean, std = rows.mean(0), rows.std(0, correction=0)
    z = (rows - mean) / std
    torch.testing.assert_close(found.mean.double(), mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.variance.double(), std**2, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.skewness.double(), (z**3).mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.kurtosis.double(), (z**4).mean(0) - 3, rtol=1e-3, atol=1e-3)
    assert found.threshold == pytest.approx(float(rows.pow(2).mean().sqrt()), rel=0.2)  # of one window only
    for sign, factor in enumerate((1, -1)):
        share = (factor * rows > found.threshold).double().mean(0)
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


@pytest.mark.parametrize("role", ["decide", "report", "select", "train"])
def test_panels_hold_what_the_model_computes_there(scanned, role):
    panel = scanned.scan.panel(role)
    assert len(panel) == scanned.metrics[f"panel_{role}"] > 20
    assert (np.diff(panel.document) >= 0).all()
    assert set(roles(scanned.corpus)[panel.document]) == {role}
    for layer in (0, 2):
        neurons, inputs = panel.neurons(layer), panel.inputs(layer)
        assert neurons.dtype == inputs.dtype == torch.float32
        assert neurons.shape == (len(panel), scanned.scan.width)
        for row in range(0, len(panel), 11):
            ids = scanned.corpus.input_ids(int(panel.document[row]))
            assert panel.token_id[row] == ids[panel.position[row]]
            assert panel.source[row] == scanned.corpus.source[int(panel.document[row])]
            into, out = plainly(scanned.target, ids, layer)
            torch.testing.assert_close(neurons[row].double(), out[panel.position[row]], rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(inputs[row].double(), into[panel.position[row]], rtol=1e-3, atol=1e-5)


def test_decoys_are_the_same_activations_at_other_positions(scanned):
    """The state's decoys, recomputed from the permutations of each window one after the other."""
    panels = draw_panels(scanned.corpus, scanned.settings, 1)
    windows = make_windows(scanned.corpus, panels, scanned.settings)
    reader = Reader(scanned.target, scanned.corpus, scanned.settings, Streams(3, 192, 5), 1)
    layer, best = 1, []
    for number, window in enumerate(w for w in windows if w.role == "train"):
        ids_BT = token_ids(scanned.corpus, window, scanned.target.pad_id)
        reading = reader._reading(window, ids_BT, number)
        flat = torch.zeros(ids_BT.numel(), scanned.scan.width, dtype=torch.float64)
        for index, (document, length) in enumerate(zip(window.documents, window.lengths, strict=True)):
            rows = plainly(scanned.target, scanned.corpus.input_ids(document), layer)[1]
            flat[index * ids_BT.shape[1] : index * ids_BT.shape[1] + length] = rows
        same_token = ids_BT.flatten()[reading.decoy_LBT[layer]] == ids_BT.flatten()[reading.real_BT]
        assert same_token.double().mean() > 0.7
        assert (reading.decoy_LBT[layer] != reading.real_BT).double().mean() > 0.95
        assert (reading.decoy_LBT[0] != reading.decoy_LBT[1]).any()
        for index, length in enumerate(window.lengths):
            counted = reading.decoy_LBT[layer, index, : length - scanned.settings.min_position]
            best.append(flat[counted].max(0).values)
    expected = torch.stack(best).T.sort(-1, descending=True).values[:, :5].clamp_min(0)
    found = scanned.scan.exemplars(layer, decoy=True)
    torch.testing.assert_close(found.value[0].double(), expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found.document, scanned.scan.exemplars(layer).document)


def test_real_and_decoy_rows_of_a_window_are_a_permutation_of_each_other(scanned):
    windows = make_windows(scanned.corpus, draw_panels(scanned.corpus, scanned.settings, 0), scanned.settings)
    window = windows[0]
    ids_BT = token_ids(scanned.corpus, window, 0)
    rank = np.zeros(2000, dtype=np.int64)
    reading = make_reading(window, ids_BT, first=4, layers=2, token_rank=rank, seed=(0,))
    mask_BT = torch.ones_like(reading.real_BT, dtype=torch.bool)
    mask_BT.view(-1)[reading.pads] = False
    assert int(mask_BT.sum()) == reading.tokens == sum(window.lengths) - 4 * len(window.lengths)
    for layer in range(2):
        assert sorted(reading.decoy_LBT[layer][mask_BT].tolist()) == sorted(reading.real_BT[mask_BT].tolist())


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
    scan(target, invented, tmp_path, settings=ScanSettings(min_position=4, panels={"train": 10}))
    found = Scan.open(tmp_path).exemplars(1)
    assert not found.value.any()
    assert (found.document == -1).all()
    assert (found.position == -1).all()
    assert not Scan.open(tmp_path).moments(1).kurtosis.any()


@pytest.mark.parametrize("scale", [1e-7, 1e6, 1e30])
def test_panels_neither_overflow_nor_vanish_in_float16(tmp_path, invented, scale):
    target = TinyTarget(layers=2).load()
    up = target.architecture.mlp(target.architecture.blocks(target.model)[1]).up_proj
    up.weight.data.mul_(scale)
    settings = ScanSettings(min_position=4, window_tokens=256, panels={"train": 60})
    if scale > 1e10:  # the fourth power is beyond float32, and says so
        with pytest.raises(NlaeError, match="layer 1 is not finite"):
            scan(target, invented, tmp_path, settings=settings)
        return
    scan(target, invented, tmp_path, settings=settings)
    panel = Scan.open(tmp_path).panel("train")
    neurons = panel.neurons(1)
    assert torch.isfinite(neurons).all()
    for row in range(0, len(panel), 9):
        expected = plainly(target, invented.input_ids(int(panel.document[row])), 1)[1][panel.position[row]]
        torch.testing.assert_close(neurons[row].double(), expected, rtol=1e-3, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "family", sorted(["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2", "gpt_neox"])
)
def test_every_family_is_read_where_the_sites_say(tmp_path, invented, family):
    target = TinyTarget(family=family, layers=2).load()
    settings = ScanSettings(top=3, min_position=4, panels={"train": 40})
    scan(target, invented, tmp_path, settings=settings)
    found = Scan.open(tmp_path)
    panel = found.panel("train")
    for layer in found.layers:
        into, out = panel.inputs(layer), panel.neurons(layer)
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
    scan(target, invented, tmp_path, settings=ScanSettings(min_position=4, panels={"train": 40}))
    found = Scan.open(tmp_path)
    assert found.facts["dtype"] == "bfloat16"
    values = found.exemplars(0).value
    assert torch.equal(values, values.bfloat16().float())
    assert torch.isfinite(found.moments(0).kurtosis).all()


def test_a_finished_scan_is_not_read_again(tmp_path, scanned, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in scanned.scan.folder.iterdir()}
    monkeypatch.setattr(Reader, "read", lambda *_: pytest.fail("read again"))
    again = dataclasses.replace(scanned.settings, checkpoint_every=1)
    assert scan(scanned.target, scanned.corpus, scanned.scan.folder, settings=again, seed=1) == scanned.metrics
    assert {path.name: path.stat().st_mtime_ns for path in scanned.scan.folder.iterdir()} == before


def test_opening_what_is_not_there_is_an_error(tmp_path, scanned):
    with pytest.raises(NlaeError, match="missing or damaged"):
        Scan.open(tmp_path)
    with pytest.raises(NlaeError, match="unknown"):
        scanned.scan.panel("test")


def test_too_short_text_is_an_error(tmp_path, invented):
    with pytest.raises(NlaeError, match="min_position=900"):
        scan(TinyTarget(layers=2).load(), invented, tmp_path, settings=ScanSettings(min_position=900))
