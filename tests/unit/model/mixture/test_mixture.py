"""A mixture's views are ordinary autoencoders, and reading for all of them at once changes nothing."""

from __future__ import annotations

import pytest
import torch

from nlae.errors import NlaeError
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import REFERENCE
from nlae.model.mixture import Mixture
from nlae.model.verbalizer import InjectionSettings
from nlae.target import SiteMixture

TEXTS = ["a red cat", "", "the dog", "   ", "rain over the old town by the river"]


def given(mixture: Mixture, name: str, rows: int = 3) -> torch.Tensor:
    width = mixture.at(name).reconstructor.head.weight.shape[0]
    return 5 * torch.randn(rows, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "gpt_neox", "llama"])
def test_readings_equal_each_views_own(make_mixture, family):
    mixture = make_mixture(family=family)
    assert mixture.names == ("mlp_in.0", "mlp_neurons.0", "mlp_in.2", "mlp_neurons.2")
    found = mixture.readings(TEXTS, batch_size=2)
    assert list(found) == list(mixture.names)
    for name in mixture.names:
        torch.testing.assert_close(found[name], mixture.at(name).reconstruct(TEXTS), atol=1e-6, rtol=0)
    some = mixture.readings(TEXTS, ["mlp_neurons.0"])
    assert list(some) == ["mlp_neurons.0"]
    torch.testing.assert_close(some["mlp_neurons.0"], found["mlp_neurons.0"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("adapter", [None, "lora"])
@pytest.mark.parametrize("kind", ["mlp_in", "mlp_neurons", "resid"])
def test_a_mixture_of_one_is_the_plain_autoencoder(make_mixture, adapter, kind):
    settings = {} if adapter else {"adapter": None}
    mixture = make_mixture((kind,), (1,), learned=False, **settings)
    (name,) = mixture.names
    view = mixture.at(name)
    plain = Autoencoder(
        make_mixture((kind,), (1,)).target, view.site, view.statistics, mixture.settings, meta=mixture.meta
    )
    plain_state, state = plain.trained_state(), mixture.trained_state()
    assert [k.replace(f".{name}", "", 1) for k in state] == list(plain_state)
    # the same numbers are learned by both
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for one, other in zip(state.values(), plain_state.values(), strict=True):
            assert torch.equal(one, other)
            step = 0.05 * torch.randn(one.shape, generator=generator)
            one += step
            other += step
    given_BD = given(mixture, name)
    said, wanted = (pair.verbalize(given_BD, seeds=[1, 2, 3]) for pair in (view, plain))
    assert said == wanted
    assert torch.equal(view.reconstruct(TEXTS), plain.reconstruct(TEXTS))
    ids = [[1, 5, 9, 12]]
    assert torch.equal(view.activations(ids)[0], plain.activations(ids)[0])


def test_sites_differ_in_prompt_scale_and_head_alone(make_mixture):
    mixture = make_mixture()
    a, b = mixture.at("mlp_in.0"), mixture.at("mlp_in.2")
    assert "layer 0, MLP input" in mixture.target.tokenizer.decode(a.verbalizer.ids.prefix_ids)
    assert a.verbalizer.ids != b.verbalizer.ids
    assert (a.verbalizer.scale, b.verbalizer.scale) == (5.0, 7.0)
    assert a.backbone is b.backbone
    assert a.verbalize(given(mixture, "mlp_in.0"), seeds=[1, 2, 3]) != b.verbalize(
        given(mixture, "mlp_in.0"), seeds=[1, 2, 3]
    )


@pytest.mark.parametrize("adapter", [None, "lora"])
@pytest.mark.parametrize("learned_map", [False, True])
def test_saved_and_loaded_it_says_the_same(make_mixture, tmp_path, adapter, learned_map):
    injection = InjectionSettings(mode="affine", map="learned") if learned_map else InjectionSettings()
    settings = {} if adapter else {"adapter": None}
    mixture = make_mixture(injection=injection, magnitude=learned_map, **settings)
    mixture.save(tmp_path)
    again = Mixture.load(tmp_path)
    assert again.sites == mixture.sites
    for name, weight in mixture.trained_state().items():
        assert torch.equal(weight, again.trained_state()[name]), name
    for name in mixture.names:
        given_BD = given(mixture, name)
        view, other = mixture.at(name), again.at(name)
        assert view.verbalize(given_BD, seeds=[1, 2, 3]) == other.verbalize(given_BD, seeds=[1, 2, 3])
        assert view.statistics.alpha == other.statistics.alpha
    for name, unit_ND in mixture.readings(TEXTS).items():
        assert torch.equal(unit_ND, again.readings(TEXTS)[name])
    with pytest.raises(NlaeError, match="holds a mixture"):
        Autoencoder.load(tmp_path)
    state = again.trained_state()
    with pytest.raises(NlaeError, match="do not fit this mixture"):
        again.load_trained_state({key: state[key] for key in list(state)[1:]})


def test_the_reference_freezes_all_sites_maps(make_mixture):
    mixture = make_mixture(injection=InjectionSettings(map="learned"))
    given_BN = given(mixture, "mlp_neurons.2")
    mixture.verbalizer.freeze_reference()
    verbalizer = mixture.at("mlp_neurons.2").verbalizer
    before_BD = verbalizer.injected(given_BN)
    with torch.no_grad():
        for weight in verbalizer.own_parameters():
            weight += 0.5
    torch.testing.assert_close(verbalizer.injected(given_BN, REFERENCE), before_BD)
    assert not torch.allclose(verbalizer.injected(given_BN), before_BD, atol=1e-2)
    wide = [name for name in mixture.names if name.startswith("mlp_neurons")]
    shared = len(mixture.backbone.parameters_of("verbalizer"))
    assert len(mixture.verbalizer.trainable()) == shared + len(wide)


def test_what_cannot_be_a_mixture_is_refused(make_mixture, site_prompt):
    import dataclasses

    with pytest.raises(NlaeError, match="drop it"):
        make_mixture(prompt=dataclasses.replace(site_prompt, reconstructor="({site}) {explanation} >"))
    with pytest.raises(NlaeError, match="has no site resid.0"):
        make_mixture().at("resid.0")


def test_layers_of_a_mixture():
    assert SiteMixture().resolve(2).layers == (0, 1)
    assert SiteMixture(depths=[1.0, 0.0]).resolve(3) == SiteMixture(layers=[0, 2]).resolve(3)
    assert [site.name for site in SiteMixture(["resid"], [2, 0]).resolve(3).sites] == ["resid.0", "resid.2"]
    for wrong in (
        {"kinds": ["attention"]},
        {"kinds": []},
        {"kinds": "resid"},
        {"layers": [1, 1]},
        {"layers": [1], "depths": [0.5]},
        {"layers": [-1]},
        {"depths": [2.0]},
        {"min_position": -1, "layers": [0]},
    ):
        with pytest.raises(NlaeError):
            SiteMixture(**wrong)
    with pytest.raises(NlaeError, match="layers 0 to 2"):
        SiteMixture(layers=[3]).resolve(3)
