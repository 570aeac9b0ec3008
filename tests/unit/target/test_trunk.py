"""The trunk against the whole model: the layer, padding, adapters and gradients."""

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from nlae.target import Site, TinyTarget, Trunk, capture, read_last
from nlae.target.site import KINDS

IDS = torch.randint(4, 200, (2, 24), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_trap_01_layer_off_by_one(target):
    """Layer K is the output of block K, which is hidden_states[K+1], except after the last block."""
    hidden = target.model(IDS, output_hidden_states=True).hidden_states
    for layer in range(target.n_layers):
        seen = Trunk(target.model, Site(layer=layer))(IDS)
        if layer < target.n_layers - 1:
            assert torch.equal(seen, hidden[layer + 1])
        else:
            decoder = target.architecture.decoder(target.model)
            assert torch.equal(getattr(decoder, target.architecture.final_norm_name)(seen), hidden[-1])
        assert not torch.allclose(seen, hidden[layer], atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_trunk_equals_the_hook_bit_for_bit(target, kind, layer):
    site = Site(kind, layer)
    trunk = Trunk(target.model, site)
    with capture(target.model, site) as seen:
        logits = target.model(IDS).logits
    assert torch.equal(trunk(IDS), seen.value)
    assert torch.equal(trunk(IDS, attention_mask=torch.ones_like(IDS)), seen.value)
    embedded = target.architecture.embedding(target.model)(IDS)
    assert torch.equal(trunk(inputs_embeds=embedded), seen.value)
    assert seen.value.shape[-1] == trunk.width
    # making and using a trunk leaves the model alone
    assert torch.equal(target.model(IDS).logits, logits)
    assert target.model.config.num_hidden_layers == 4


def test_context_matters(target):
    """A random model whose activations depended on the last token alone would make every test here too easy."""
    other = IDS.clone()
    other[:, -3] = 77
    with torch.no_grad():
        a, b = (Trunk(target.model, Site(layer=3))(ids)[:, -1] for ids in (IDS, other))
    assert (a - b).norm() > 0.02 * a.norm()


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_trap_08_padding_side(target, side):
    """The last real token is found by the mask, wherever the padding stands."""
    trunk = Trunk(target.model, Site(layer=2))
    short = IDS[:1, :15]
    pad = torch.zeros(1, 9, dtype=torch.long)
    row = torch.cat([pad, short] if side == "left" else [short, pad], dim=1)
    mask_BT = torch.stack([torch.ones(24), (row[0] > 0).float()]).long()
    padded = read_last(trunk(torch.cat([IDS[:1], row]), attention_mask=mask_BT), mask_BT)
    torch.testing.assert_close(padded[0], trunk(IDS[:1])[0, -1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(padded[1], trunk(short)[0, -1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_deep_copy_stands_alone(llama):
    trunk = Trunk(llama.model, Site(layer=1))
    own = copy.deepcopy(trunk)
    before = trunk(IDS)
    assert torch.equal(own(IDS), before)
    for parameter in own.parameters():
        parameter.add_(0.1)
    assert not torch.equal(own(IDS), before)
    assert torch.equal(trunk(IDS), before)


def test_read_last_by_hand():
    hidden_BTD = torch.arange(6.0).reshape(2, 3, 1)
    assert read_last(hidden_BTD, torch.tensor([[1, 1, 0], [0, 1, 1]])).flatten().tolist() == [1, 5]


@torch.no_grad()
@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_trap_07_gemma_root_d_is_inside_the_embedding(family):
    """What the embedding module returns goes into block 0 as it is: nothing may be rescaled."""
    target = TinyTarget(family=family).load()
    embedding = target.architecture.embedding(target.model)
    seen = []
    handle = target.architecture.blocks(target.model)[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    target.model(IDS)
    handle.remove()
    torch.testing.assert_close(seen[0], embedding(IDS))
    torch.testing.assert_close(embedding(IDS), embedding.weight[IDS] * target.d_model**0.5)


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_sliding_windows_stay_with_their_layers(family):
    target = TinyTarget(family=family).load()
    kinds = target.model.config.layer_types
    assert len(set(kinds)) == (2 if family == "gemma2" else 1)
    assert IDS.shape[1] > target.model.config.sliding_window
    trunk = Trunk(target.model, Site(layer=1))
    assert trunk.decoder.config.layer_types == kinds[:2]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("order", ["adapter first", "trunk first"])
def test_gradients_reach_adapters_in_the_shared_blocks(family, order):
    target = TinyTarget(family=family).load()
    site = Site(layer=1)
    early = Trunk(target.model, site)
    before = early(IDS)
    config = LoraConfig(r=2, target_modules=list(target.architecture.lora_modules), fan_in_fan_out=family == "gpt2")
    inject_adapter_in_model(config, target.model)
    trunk = early if order == "trunk first" else Trunk(target.model, site)
    after = trunk(IDS)
    torch.testing.assert_close(after, before)  # a fresh adapter adds nothing
    after.square().mean().backward()
    grads = {n: p.grad for n, p in target.model.named_parameters() if "lora_B" in n}
    reached = {n for n, g in grads.items() if g is not None and g.abs().sum() > 0}
    assert any(".0." in n for n in reached)
    assert any(".1." in n for n in reached)
    assert not any(".2." in n or ".3." in n for n in reached)
