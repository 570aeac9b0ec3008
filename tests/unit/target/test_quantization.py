"""A base in 8 or 4 bits: what is quantised, what stays, that adapters learn through it, and what is refused."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nlae.errors import NlaeError
from nlae.functional.linear import available
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER, Backbone
from nlae.rollout import LocalRollout
from nlae.target import HubTarget, Site, TinyTarget, source_from_description
from nlae.target.linear import OneDnnLinear
from nlae.target.quantization import KINDS, is_quantized, plain_weight
from nlae.target.selfcheck import self_check
from nlae.target.trunk import Trunk, site_width
from pairs import TEXTS, losses

WIDTH = 64
needed = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs nlae[quantize]")


def save(path: Any, family: str) -> str:
    target = TinyTarget(family=family, layers=3, width=WIDTH, vocabulary=400).load()
    target.model.save_pretrained(path)
    target.tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture
def make_on(make_pair):
    """A pair on the saved model, quantised or not, whose adapters are as they start."""

    def make(folder: str, quantization: str | None, **settings: Any) -> Autoencoder:
        return make_pair(source=HubTarget("small", folder, quantization=quantization), **{"learned": False, **settings})

    return make


@pytest.fixture
def activations() -> Tensor:
    return 5 * torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(3))


@needed
@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_the_blocks_are_quantised_and_nothing_else_is(folder, kind):
    target = HubTarget("small", folder, quantization=kind).load()
    plain = HubTarget("small", folder).load()
    assert is_quantized(target.model)
    assert not is_quantized(plain.model)
    blocks = target.architecture.blocks(target.model)
    inside = {id(m) for block in blocks for m in block.modules()}
    for name, module in target.model.named_modules():
        if isinstance(module, nn.Linear):
            assert is_quantized(module) == (id(module) in inside), name
            assert isinstance(module, OneDnnLinear) == (available() and id(module) not in inside), name
    assert target.architecture.lora_modules == plain.architecture.lora_modules
    for site in (Site("resid", 1), Site("mlp_neurons", 1)):
        assert site_width(target.model, site) == site_width(plain.model, site)
        self_check(target, site)
    ids_BT = torch.arange(10, 34).view(2, 12)
    found, wanted = (Trunk(t.model, Site("resid", 1))(ids_BT) for t in (target, plain))
    assert 1e-4 < float((found - wanted).norm() / wanted.norm()) < (0.05 if kind == "8bit" else 0.4)


@needed
@pytest.mark.parametrize("kind", KINDS)
def test_the_down_projection_can_be_read_as_numbers(folder, kind):
    target, plain = (HubTarget("small", folder, quantization=k).load() for k in (kind, None))
    target.model(torch.arange(10, 14)[None])  # bitsandbytes moves some of it at the first forward
    (found, wanted) = (t.architecture.down_weight(t.architecture.blocks(t.model)[1]).float() for t in (target, plain))
    assert found.shape == wanted.shape
    assert float((found - wanted).norm() / wanted.norm()) < (0.02 if kind == "8bit" else 0.15)
    assert plain_weight(plain.model.lm_head) is plain.model.lm_head.weight


@needed
@pytest.mark.parametrize("precision", ["bf16-base", "fp32"])
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_learn_through_a_quantised_base_even_after_it_was_only_read(
    folder, kind, precision, activations, make_on
):
    pair = make_on(folder, kind, precision=precision)
    assert pair.target.model.training is False
    pair.reconstruct(TEXTS)  # without gradient, in eval mode: where weights could be repacked
    pair.verbalizer.freeze_reference()
    pair.backbone.train()
    parameters = [*pair.verbalizer.trainable(), *pair.reconstructor.trainable()]
    assert all(p.dtype is torch.float32 for p in parameters)
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    history = []
    for _ in range(12):
        first, second = losses(pair, activations)
        (first + second).backward()
        history.append((float(first.detach()), float(second.detach())))
        if len(history) > 1:  # one half of an adapter starts at zero, so the other has no gradient at first
            assert all(p.grad is not None and float(p.grad.norm()) > 0 for p in parameters)
        optimizer.step()
        optimizer.zero_grad()
    assert history[-1][0] < 0.8 * history[0][0]
    assert history[-1][1] < 0.8 * history[0][1]


@needed
def test_gradients_in_4_bits_are_those_of_the_numbers_it_stands_for(folder, activations, make_on):
    """The same weights, dequantised into a plain model, give the same losses and gradients."""
    pair, plain = make_on(folder, "4bit"), make_on(folder, None)
    with torch.no_grad():
        for name, module in plain.target.model.named_modules():
            if name.endswith("base_layer"):
                module.weight.copy_(plain_weight(pair.target.model.get_submodule(name)))
    for one in (pair, plain):
        one.backbone.train()
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for weight in one.trained_state().values():
                weight += 0.05 * torch.randn(weight.shape, generator=generator)
    found, wanted = losses(pair, activations), losses(plain, activations)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-4)
    sum(found).backward()
    sum(wanted).backward()
    for role in (VERBALIZER, RECONSTRUCTOR):
        for one, other in zip(pair.backbone.parameters_of(role), plain.backbone.parameters_of(role), strict=True):
            assert float(other.grad.norm()) > 0
            assert float((one.grad - other.grad).norm()) < 1e-3 * float(other.grad.norm())


@needed
def test_what_is_sampled_in_4_bits_is_what_is_trained(folder, activations, make_on):
    pair = make_on(folder, "4bit")
    pair.backbone.train()
    rollouts = LocalRollout()(pair.at().verbalizer, activations, [1, 2])
    with torch.no_grad():
        logp_BT = pair.at().verbalizer.logprobs(activations, rollouts.token_BT, mask_BT=rollouts.mask_BT)
    assert float(rollouts.length.min()) > 1
    assert torch.allclose(logp_BT, rollouts.logp_BT * rollouts.mask_BT, atol=1e-3)


@needed
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_remembers_and_neurons_enter(folder, kind, tmp_path, make_on):
    pair = make_on(folder, kind, kind="mlp_neurons")
    width = site_width(pair.target.model, pair.site)
    activation_BN = torch.randn(2, width, generator=torch.Generator().manual_seed(3))
    before = [e.text for e in pair.verbalize(activation_BN, seeds=[1, 2])]
    pair.save(tmp_path / "pair")
    again = Autoencoder.load(tmp_path / "pair")
    assert is_quantized(again.target.model)
    assert [e.text for e in again.verbalize(activation_BN, seeds=[1, 2])] == before


@needed
@pytest.mark.parametrize("family", ["gemma3", "gpt2", "gpt_neox"])
def test_other_families(family, tmp_path, activations, make_on):
    pair = make_on(save(tmp_path, family), "4bit")
    self_check(pair.target, pair.site)
    pair.backbone.train()
    sum(losses(pair, activations)).backward()
    blocks = 3 * len(pair.target.architecture.lora_modules)
    assert sum(".lora_B" in n and p.grad is not None for n, p in pair.target.model.named_parameters()) >= blocks


@needed
@pytest.mark.parametrize("role", [VERBALIZER, RECONSTRUCTOR])
def test_nothing_whole_is_trained_or_written(folder, role, make_on):
    pair = make_on(folder, "4bit")
    with pytest.raises(NlaeError, match=r"quantised base cannot take adapters in.*target\.quantization=null"):
        pair.backbone.clean_copy(role)
    with pytest.raises(NlaeError, match="quantised base cannot be trained whole"):
        Backbone(pair.target, pair.sites).add(role, None)


def test_source_and_fingerprint_say_so(folder):
    plain, small = HubTarget("a", folder), HubTarget("a", folder, quantization="4bit")
    assert small.fingerprint() == plain.fingerprint() + "-4bit"
    assert small.tokenizer_fingerprint() == plain.fingerprint() == plain.tokenizer_fingerprint()
    assert source_from_description(small.describe()).fingerprint() == small.fingerprint()


def test_mistakes_are_one_line(folder, monkeypatch):
    with pytest.raises(NlaeError, match=r"target\.quantization=3bit: choose null, 8bit or 4bit"):
        HubTarget("a", folder, quantization="3bit")
    monkeypatch.setattr("nlae.target.quantization.PACKAGE", "bitsandbytes_that_is_not_there")
    with pytest.raises(NlaeError, match=r"needs bitsandbytes.*nlae\[quantize\]"):
        HubTarget("a", folder, quantization="4bit").load()
