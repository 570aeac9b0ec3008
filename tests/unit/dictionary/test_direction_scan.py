"""Directions in the place of neurons: what a scan would hold of them, read again at its panels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nlae.dictionary.subjects import direction_scan
from nlae.dictionary.subjects.direction_scan import DirectionSubjects, read_site
from nlae.dictionary.subjects.directions import Directions
from nlae.dictionary.subjects.neurons import Subjects
from nlae.dictionary.subjects.output_side import promoted, promoted_by
from nlae.target import Site, capture

D, N = 64, 24  # the tiny target's width, and the number of directions


class Encoder(torch.nn.Module):
    """A sparse autoencoder as SAELens gives it, as far as it is used."""

    def __init__(self, write_nd: torch.Tensor) -> None:
        super().__init__()
        self.weight_dn = torch.nn.Parameter(write_nd.T.clone())

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight_dn).relu()


@pytest.fixture(scope="module")
def features():
    write_nd = F.normalize(torch.randn(N, D, generator=torch.Generator().manual_seed(0)), dim=-1)
    return Directions(Site("resid", 1), write_nd, torch.ones(N), Encoder(write_nd))


@pytest.fixture(scope="module")
def subjects(scanned, features) -> Subjects:
    return DirectionSubjects(scanned.scan, features, scanned.target, scanned.corpus)


def test_they_look_like_one_layer(subjects):
    assert subjects.layers == [1]
    assert (subjects.width, subjects.d_model, subjects.signed) == (N, D, False)


@pytest.mark.parametrize("role", ["train", "test"])
def test_inputs_are_what_stands_at_the_site(subjects, scanned, role):
    panel, inputs_MD = subjects.panel(role), subjects.inputs(1, role)
    assert inputs_MD.shape == (len(panel), D)
    for row in (0, len(panel) // 2, len(panel) - 1):
        ids = torch.tensor([scanned.corpus.input_ids(int(panel.document[row]))])
        with torch.no_grad():
            hidden = scanned.target.model(ids, output_hidden_states=True).hidden_states[2][0, panel.position[row]]
        torch.testing.assert_close(inputs_MD[row], hidden, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["mlp_in", "mlp_neurons", "mlp_out"])
def test_every_site_is_read_whatever_is_read_together(scanned, kind):
    site, panel = Site(kind, 1), scanned.scan.panel("bar")
    found = read_site(scanned.target, site, scanned.corpus, panel, batch_tokens=70)
    for row in range(0, len(panel), 7):
        ids = torch.tensor([scanned.corpus.input_ids(int(panel.document[row]))])
        with torch.no_grad(), capture(scanned.target.model, site) as seen:
            scanned.target.model(ids)
        torch.testing.assert_close(found[row], seen.value[0, panel.position[row]], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("values", [1 << 24, 1000])
def test_exemplars_are_the_strongest_passages_of_the_training_panel(scanned, features, monkeypatch, values):
    monkeypatch.setattr(direction_scan, "_VALUES", values)  # all at once, and a few passages at a time
    subjects = DirectionSubjects(scanned.scan, features, scanned.target, scanned.corpus)
    panel, exemplars = subjects.panel("train"), subjects.exemplars(1)
    value_Mn = subjects.activations(1, subjects.inputs(1, "train"))
    assert exemplars.value.shape == (2, N, scanned.settings.top)
    for feature in range(N):
        value_M = value_Mn[:, feature]
        best = {int(d): float(value_M[torch.from_numpy(panel.document == d)].max()) for d in np.unique(panel.document)}
        wanted = sorted((value for value in best.values() if value > 0), reverse=True)[: scanned.settings.top]
        assert exemplars.value[0, feature, : len(wanted)].tolist() == pytest.approx(wanted, rel=1e-4)
        for value, document, position in zip(
            exemplars.value[0, feature, : len(wanted)],
            exemplars.document[0, feature],
            exemplars.position[0, feature],
            strict=False,
        ):
            (row,) = np.flatnonzero((panel.document == int(document)) & (panel.position == int(position)))
            assert float(value) == pytest.approx(float(value_M[row]), rel=1e-4)
    assert (exemplars.document[1] == -1).all(), "a feature is never negative"
    assert (exemplars.position[1] == -1).all()


def test_moments_are_those_of_the_training_panel(subjects):
    value_MN, moments = subjects.activations(1, subjects.inputs(1, "train")).double(), subjects.moments(1)
    torch.testing.assert_close(moments.mean.double(), value_MN.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moments.variance.double(), value_MN.var(0, correction=0), atol=1e-4, rtol=1e-4)
    share_N = (value_MN > value_MN.square().mean().sqrt()).double().mean(0)
    torch.testing.assert_close(moments.frequency[0].double(), share_N, rtol=0, atol=1.1 / len(value_MN))
    assert moments.frequency[1].eq(0).all()


def test_bare_directions_have_both_signs(scanned):
    rows_nd = F.normalize(torch.randn(5, D, generator=torch.Generator().manual_seed(1)), dim=-1)
    subjects = DirectionSubjects(scanned.scan, Directions(Site("resid", 0), rows_nd), scanned.target, scanned.corpus)
    assert subjects.signed
    value_Mn = subjects.activations(0, subjects.inputs(0, "train"))
    assert torch.allclose(-value_Mn.amin(0), subjects.exemplars(0).value[1, :, 0], rtol=1e-4)
    assert subjects.promoted(0, 3)[0].shape == (2, 2, 5, 3)


def test_a_neurons_write_vector_promotes_the_same_as_a_direction(scanned):
    down_DN = scanned.target.model.model.layers[1].mlp.down_proj.weight.detach()
    wanted_ids, wanted = promoted(scanned.target, 1, 3)
    for site, write in ((Site("mlp_out", 1), down_DN.T), (Site("mlp_neurons", 1), torch.eye(down_DN.shape[1]))):
        ids, weights = promoted_by(scanned.target, site, write, 3)
        torch.testing.assert_close(weights, wanted)
        assert (ids == wanted_ids).float().mean() > 0.99
    assert promoted_by(scanned.target, Site("mlp_in", 1), down_DN.T, 3)[0].shape == (2, 2, len(down_DN.T), 0)
