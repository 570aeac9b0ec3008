"""Blocks run again in the backward: the same gradients, under the same role, with the cache as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from nlae.model.adapters import AdapterSettings
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER
from nlae.model.micro import responses
from nlae.rollout import LocalRollout
from nlae.target import TinyTarget
from nlae.target.cache import read_on
from nlae.target.recompute import recompute
from pairs import losses

FAMILIES = ("gemma3", "gpt2", "gpt_neox", "llama")


def agree(found: list[Tensor], wanted: list[Tensor]) -> None:
    largest = max(float(g.abs().max()) for g in wanted)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=2e-6 * largest, rtol=1e-5)


@pytest.mark.parametrize("during", [None, RECONSTRUCTOR, VERBALIZER])
@pytest.mark.parametrize("adapter", [AdapterSettings(4, 8.0), None])
@pytest.mark.parametrize("family", FAMILIES)
def test_trap_15_any_order_of_backwards_gives_the_plain_gradients(
    make_pair, activations, family, adapter, during, gradients
):
    pair = make_pair(family, dtype="float64", adapter=adapter)
    for loss in losses(pair, activations):
        loss.backward()
    wanted = gradients(pair)
    pair.backbone.recompute()
    for order in (1, -1):
        both = losses(pair, activations)
        with pair.backbone.use(during):
            for loss in both[::order]:
                loss.backward()
        agree(gradients(pair), wanted)
    with pair.backbone.use(during):
        sum(losses(pair, activations)).backward()
    agree(gradients(pair), wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_micro_batches_over_a_shared_prompt(make_pair, activations, family, gradients):
    pair = make_pair(family, dtype="float64", mode="affine")
    token_BT = torch.randint(4, 300, (6, 9), generator=torch.Generator().manual_seed(3))
    mask_BT = (torch.arange(9) < torch.tensor([9, 2, 5, 1, 7, 7])[:, None]).double()
    found = []
    for again in (False, True):
        if again:
            pair.backbone.recompute()
        for part in responses(pair.at().verbalizer, activations[:2], token_BT, mask_BT, 20):
            (part.logp_BT * part.mask_BT).sum().backward()
        found.append(gradients(pair))
    assert max(float(g.abs().max()) for g in found[0]) > 1e-3
    agree(found[1], found[0])


def test_less_is_kept_between_forward_and_backward(make_pair, activations):
    pair, kept = make_pair(layers=6, layer=4), []

    def count(tensor: Tensor) -> Tensor:
        kept[-1] += tensor.numel()
        return tensor

    for again in (False, True):
        if again:
            pair.backbone.recompute()
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            losses(pair, activations)
    assert kept[1] < 0.35 * kept[0]


def test_blocks_really_run_again_and_only_where_there_is_a_gradient(make_pair, activations):
    pair, seen = make_pair(), []
    layer = pair.target.architecture.blocks(pair.target.model)[0]
    layer.input_layernorm.register_forward_hook(lambda *_: seen.append(1))
    pair.backbone.recompute()
    loss = losses(pair, activations)[1]
    assert len(seen) > 0
    before = len(seen)
    loss.backward()
    assert len(seen) == before + 1
    with torch.no_grad():
        losses(pair, activations)
    assert len(seen) > before + 1


def test_rollouts_and_writing_into_a_block_are_what_they_were(make_pair, activations):
    pair = make_pair(point=1)
    before = LocalRollout()(pair.at().verbalizer, activations[:3], [1, 2, 3])
    wanted = float(losses(pair, activations)[0].detach())
    pair.backbone.recompute()
    after = LocalRollout()(pair.at().verbalizer, activations[:3], [1, 2, 3])
    assert torch.equal(before.token_BT, after.token_BT)
    assert torch.equal(before.logp_BT, after.logp_BT)
    assert float(losses(pair, activations)[0].detach()) == pytest.approx(wanted, rel=1e-6)


def test_a_cache_without_layers_is_written_to_once():
    target = TinyTarget(layers=3, width=32, vocabulary=400).load()
    ids_BT = torch.randint(5, 300, (2, 6), generator=torch.Generator().manual_seed(0))
    decoder = target.architecture.decoder(target.model)
    embedded_BTD = target.architecture.embedding(target.model)(ids_BT).detach().requires_grad_()
    gradients = []
    for again in (False, True):
        if again:
            for index, block in enumerate(target.architecture.blocks(decoder)):
                recompute(block, index, lambda: torch.enable_grad)
        cache = DynamicCache()
        assert not cache
        hidden_BTD = read_on(decoder, cache, inputs_embeds=embedded_BTD).last_hidden_state
        assert [layer.keys.shape[2] for layer in cache.layers] == [6, 6, 6]
        gradients += torch.autograd.grad(hidden_BTD.square().sum(), embedded_BTD)
        assert cache.get_seq_length() == 6
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)
