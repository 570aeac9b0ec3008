"""The pair as a whole: what it writes, rebuilds and says about itself."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nlae.errors import NlaeError
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.model.injection import InjectionSettings
from nlae.target import Site, TinyTarget
from pairs import autoencoder

TEXTS = ["a red cat", "", "the dog", "   "]


@pytest.fixture
def pair(make_pair) -> Autoencoder:
    return make_pair()


def test_empty_text_is_the_constant_and_order_is_kept(pair):
    direction_ND = pair.reconstruct(TEXTS, batch_size=1)
    assert torch.allclose(direction_ND[[1, 3]], unit(pair.statistics.mean_D).expand(2, -1))
    assert torch.allclose(direction_ND[[0, 2]], pair.reconstruct(["a red cat", "the dog"]), atol=1e-5)
    assert torch.allclose(direction_ND.norm(dim=-1), torch.ones(4))
    assert torch.allclose(pair.reconstruct("a red cat"), direction_ND[0], atol=1e-5), "one text, one vector"
    assert pair.reconstruct_norm(TEXTS) is None


def test_activations_are_raw_and_of_the_bare_target(pair):
    ids = [[1, 5, 6, 7], [1, 9]]
    bare = TinyTarget(layers=3, width=32, vocabulary=400).load()
    for row, found_TD in zip(ids, pair.activations(ids), strict=True):
        want_TD = bare.model(torch.tensor([row]), output_hidden_states=True).hidden_states[2][0]
        assert torch.allclose(found_TD, want_TD, atol=1e-5)


def test_seeds_are_a_function_of_seed_purpose_and_row():
    seeds = Autoencoder.row_seeds(0, "validate", [5, 6])
    assert seeds == Autoencoder.row_seeds(0, "validate", [5, 6])
    assert len({*seeds, *Autoencoder.row_seeds(1, "validate", [5]), *Autoencoder.row_seeds(0, "samples", [5])}) == 4


def test_verbalize_in_batches_equals_verbalize_at_once(pair, activations):
    seeds = pair.row_seeds(0, "test", range(12))
    once = pair.verbalize(activations, seeds=seeds)
    assert once == pair.verbalize(activations, seeds=seeds, batch_size=5)
    assert len({e.text for e in once}) > 6
    assert all(0 < e.n_tokens <= 10 for e in once)
    assert pair.verbalize(activations[:0], seeds=[]) == []
    with pytest.raises(ValueError, match="3 seeds for 12"):
        pair.verbalize(activations, seeds=[1, 2, 3])


def test_nll_is_per_token_and_does_not_depend_on_batches(pair, activations):
    texts = ["a cat", "a much longer text about the dog", "the"]
    token_BT, mask_BT = pair.at().verbalizer.encode_responses(texts)
    logp_BT = pair.at().verbalizer.logprobs(activations[:3], token_BT).detach()
    want = float(-(logp_BT * mask_BT).sum() / mask_BT.sum())
    assert pair.nll(activations[:3], texts) == pytest.approx(want, rel=1e-5)
    assert pair.nll(activations[:3], texts, batch_size=1) == pytest.approx(want, rel=1e-5)


def test_scale_is_alpha_unless_it_is_said(make_pair, prompt):
    pair = make_pair()
    assert pair.at().verbalizer.scale == pair.statistics.alpha
    injected_BD = pair.at().verbalizer.injected(torch.randn(3, 32) * 100)
    assert torch.allclose(injected_BD.norm(dim=-1), torch.full((3,), pair.statistics.alpha))
    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    loud = autoencoder(target, Site(layer=0), None, prompt, injection=InjectionSettings(scale=2.5))
    assert loud.verbalizer.at().scale == 2.5
    with pytest.raises(NlaeError, match="no activation statistics"):
        autoencoder(target, Site(layer=0), None, prompt)


def test_a_marker_that_the_embedding_has_no_row_for_is_refused_when_a_pair_is_built(prompt):
    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    target.tokenizer.add_tokens(["⟐"])
    odd = dataclasses.replace(prompt, marker="⟐")
    with pytest.raises(NlaeError, match="beyond the target's embedding"):
        autoencoder(target, Site(layer=0), None, odd, injection=InjectionSettings(scale=2.5))
