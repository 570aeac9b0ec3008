"""Each site of an autoencoder is as if it were alone, and reading for all of them at once changes nothing."""

from __future__ import annotations

import pytest
import torch

from nlae.errors import NlaeError
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import REFERENCE
from nlae.model.injection import InjectionSettings
from nlae.target import Sites

TEXTS = ["a red cat", "", "the dog", "   ", "rain over the old town by the river"]


def given(several: Autoencoder, name: str, rows: int = 3) -> torch.Tensor:
    width = several.at(name).reconstructor.head.weight.shape[0]
    return 5 * torch.randn(rows, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "gpt_neox", "llama"])
def test_readings_equal_each_views_own(make_autoencoder, family):
    several = make_autoencoder(family=family)
    assert several.names == ("mlp_in.0", "mlp_neurons.0", "mlp_in.2", "mlp_neurons.2")
    found = several.reconstructor.readings(TEXTS, batch_size=2)
    assert list(found) == list(several.names)
    for name in several.names:
        torch.testing.assert_close(found[name], several.at(name).reconstruct(TEXTS), atol=1e-6, rtol=0)
    some = several.reconstructor.readings(TEXTS, ["mlp_neurons.0"])
    assert list(some) == ["mlp_neurons.0"]
    torch.testing.assert_close(some["mlp_neurons.0"], found["mlp_neurons.0"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("adapter", [None, "lora"])
@pytest.mark.parametrize("kind", ["mlp_in", "mlp_neurons", "resid"])
def test_a_site_among_several_is_as_it_is_alone(make_autoencoder, adapter, kind):
    settings = {} if adapter else {"adapter": None}
    several = make_autoencoder((kind, "mlp_out"), (0, 1), **settings)
    name = f"{kind}.1"
    alone, state = make_autoencoder((kind,), (1,), **settings), several.trained_state()
    alone.load_trained_state({key: state[key] for key in alone.trained_state()})
    view, given_BD = several.at(name), given(several, name)
    alone.verbalizer.at().scale = view.verbalizer.scale  # their statistics are numbered
    assert view.verbalize(given_BD, seeds=[1, 2, 3]) == alone.verbalize(given_BD, seeds=[1, 2, 3])
    texts = [text for text in TEXTS if text.strip()]
    assert torch.equal(view.reconstruct(texts), alone.reconstruct(texts))
    ids = [[1, 5, 9, 12]]
    assert torch.equal(view.activations(ids)[0], alone.activations(ids)[0])


def test_with_one_site_its_methods_need_no_name_and_with_several_they_ask_for_one(make_autoencoder):
    one, several = make_autoencoder(("mlp_in",), (1,)), make_autoencoder()
    view, given_BD = one.at("mlp_in.1"), given(one, "mlp_in.1")
    assert one.at() is view
    assert (one.site, one.prompt, one.statistics) == (view.site, view.prompt, view.statistics)
    assert one.has_statistics
    assert one.verbalize(given_BD, seeds=[1, 2, 3]) == view.verbalize(given_BD, seeds=[1, 2, 3])
    assert torch.equal(one.reconstruct(TEXTS), view.reconstruct(TEXTS))
    assert torch.equal(one.reconstructor.readings(TEXTS)["mlp_in.1"], view.reconstruct(TEXTS))
    assert one.nll(given_BD[:1], ["a cat"]) == view.nll(given_BD[:1], ["a cat"])
    assert torch.equal(one.activations([[1, 5]])[0], view.activations([[1, 5]])[0])
    for ask in (
        lambda: several.site,
        lambda: several.statistics,
        lambda: several.verbalize(given_BD, seeds=[1, 2, 3]),
        lambda: several.reconstruct(TEXTS),
        lambda: several.verbalizer.at(),
        lambda: several.explain("a cat"),
    ):
        with pytest.raises(NlaeError, match=r"reads 4 sites: name one, e\.g\. \.at\('mlp_in\.0'\)"):
            ask()


def test_sites_differ_in_prompt_scale_and_head_alone(make_autoencoder):
    several = make_autoencoder()
    a, b = several.at("mlp_in.0"), several.at("mlp_in.2")
    assert "layer 0, MLP input" in several.target.tokenizer.decode(a.verbalizer.ids.prefix_ids)
    assert a.verbalizer.ids != b.verbalizer.ids
    assert (a.verbalizer.scale, b.verbalizer.scale) == (5.0, 7.0)
    assert a.backbone is b.backbone
    assert a.verbalize(given(several, "mlp_in.0"), seeds=[1, 2, 3]) != b.verbalize(
        given(several, "mlp_in.0"), seeds=[1, 2, 3]
    )


@pytest.mark.parametrize("adapter", [None, "lora"])
@pytest.mark.parametrize("learned_map", [False, True])
def test_saved_and_loaded_it_says_the_same(make_autoencoder, tmp_path, adapter, learned_map):
    injection = InjectionSettings(mode="affine", map="learned") if learned_map else InjectionSettings()
    settings = {} if adapter else {"adapter": None}
    several = make_autoencoder(injection=injection, magnitude=learned_map, **settings)
    several.save(tmp_path)
    again = Autoencoder.load(tmp_path)
    assert again.sites == several.sites
    for name, weight in several.trained_state().items():
        assert torch.equal(weight, again.trained_state()[name]), name
    for name in several.names:
        given_BD = given(several, name)
        view, other = several.at(name), again.at(name)
        assert view.verbalize(given_BD, seeds=[1, 2, 3]) == other.verbalize(given_BD, seeds=[1, 2, 3])
        assert view.statistics.alpha == other.statistics.alpha
    for name, unit_ND in several.reconstructor.readings(TEXTS).items():
        assert torch.equal(unit_ND, again.reconstructor.readings(TEXTS)[name])
    state = again.trained_state()
    with pytest.raises(NlaeError, match="do not fit this autoencoder"):
        again.load_trained_state({key: state[key] for key in list(state)[1:]})


def test_the_reference_freezes_all_sites_maps(make_autoencoder):
    several = make_autoencoder(injection=InjectionSettings(map="learned"))
    given_BN = given(several, "mlp_neurons.2")
    several.verbalizer.freeze_reference()
    verbalizer = several.at("mlp_neurons.2").verbalizer
    before_BD = verbalizer.injected(given_BN)
    with torch.no_grad():
        for weight in verbalizer.own().values():
            weight += 0.5
    torch.testing.assert_close(verbalizer.injected(given_BN, REFERENCE), before_BD)
    assert not torch.allclose(verbalizer.injected(given_BN), before_BD, atol=1e-2)
    wide = [name for name in several.names if name.startswith("mlp_neurons")]
    shared = len(several.backbone.parameters_of("verbalizer"))
    assert len(several.verbalizer.trainable()) == shared + len(wide)


def test_what_cannot_be_read_together_is_refused(make_autoencoder, site_prompt):
    import dataclasses

    with pytest.raises(NlaeError, match="drop it"):
        make_autoencoder(prompt=dataclasses.replace(site_prompt, reconstructor="({site}) {explanation} >"))
    with pytest.raises(NlaeError, match="has no site resid.0"):
        make_autoencoder().at("resid.0")


def test_layers_of_several_sites():
    assert Sites().resolve(2).layers == (0, 1)
    assert Sites(depths=[1.0, 0.0]).resolve(3) == Sites(layers=[0, 2]).resolve(3)
    assert [site.name for site in Sites(["resid"], [2, 0]).resolve(3).sites] == ["resid.0", "resid.2"]
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
            Sites(**wrong)
    with pytest.raises(NlaeError, match="layers 0 to 2"):
        Sites(layers=[3]).resolve(3)
