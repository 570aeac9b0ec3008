"""Models whose blocks differ: every block's maps take adapters, and engines and training see the same probabilities."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nlae.errors import NlaeError
from nlae.functional.scaling import unit
from nlae.model.micro import responses
from nlae.rollout import LocalRollout, PlainRollout
from nlae.target import Site, TinyTarget, self_check
from nlae.target.cache import Reread, keeps_state
from nlae.target.lora import adaptable
from nlae.target.tiny import FAMILIES

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
HYBRIDS = {
    "qwen3_next": {
        **EXPERTS,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "shared_expert_intermediate_size": 16,
        "mlp_only_layers": [1],
    },
    "falcon_h1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
    },
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention", "mamba"],
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 16,
    },
    "qwen3_moe": {**EXPERTS, "mlp_only_layers": [1], "decoder_sparse_step": 1},
}
STATEFUL = [family for family in HYBRIDS if family != "qwen3_moe"]


@pytest.fixture(params=list(HYBRIDS))
def family(request, monkeypatch):
    monkeypatch.setitem(FAMILIES, request.param, (request.param, HYBRIDS[request.param]))
    return request.param


def linear_maps(block: nn.Module) -> set[str]:
    return {name for name, part in block.named_modules() if isinstance(part, nn.Linear)}


def test_every_blocks_maps_take_adapters(family):
    target = TinyTarget(family=family, layers=3, width=32, vocabulary=400).load()
    names = adaptable(target, 3)
    blocks = target.architecture.blocks(target.model)
    per_block = []
    for number, block in enumerate(blocks):
        mine = {name.partition(f".layers.{number}.")[2] for name in names if f".layers.{number}." in name}
        left = {name for name in linear_maps(block) - mine if name.rpartition(".")[2] not in ("gate", "layer")}
        assert {name.rpartition(".")[2] for name in left} <= {"out_proj", "shared_expert_gate"}, left
        assert mine
        assert mine <= linear_maps(block)
        per_block.append(mine)
    if family != "falcon_h1":
        assert per_block[0] != per_block[1]  # block 0's names alone would miss some
    assert adaptable(target, 1) == [name for name in names if ".layers.0." in name]


def test_gradient_reaches_every_adapter_and_equals_a_plain_forward(family, make_pair, activations, gradients):
    pair = make_pair(family, layer=2)
    verbalizer, vector_GD = pair.at().verbalizer, activations[:2]
    token_BT, mask_BT = verbalizer.encode_responses(["a river", "the old town by the sea", "a b c", "one"])
    wanted = plain_logprobs(pair, vector_GD.repeat_interleave(2, 0), token_BT)
    torch.testing.assert_close(verbalizer.logprobs(vector_GD, token_BT).double(), wanted, rtol=0, atol=2e-4)
    (mask_BT * wanted).float().sum().backward()
    reference = gradients(pair)
    for part in responses(verbalizer, vector_GD, token_BT, mask_BT, 12):
        real = part.mask_BT.bool()
        torch.testing.assert_close(
            part.logp_BT[real].double(), wanted[part.rows, : real.shape[1]][real], rtol=0, atol=2e-4
        )
        part.logp_BT.sum().backward()
    shared = gradients(pair)
    of_verbalizer = len(pair.verbalizer.trainable())
    for one, other in zip(reference[:of_verbalizer], shared[:of_verbalizer], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=5e-4)  # a sum over tokens, in another order
        assert one.abs().max() > 0
    rebuilt_BD, _ = pair.at().reconstructor(["a river", "the old town"])
    (rebuilt_BD - unit(vector_GD)).square().sum().backward()
    assert all(gradient.abs().max() > 0 for gradient in gradients(pair)[of_verbalizer:])


def plain_logprobs(pair, activation_BD, token_BT):
    """One forward over prompt and response, no cache, adapters on."""
    verbalizer, model = pair.at().verbalizer, pair.backbone.language_model("verbalizer")
    with pair.backbone.use("verbalizer"):
        embed = pair.target.architecture.embedding(model)
        prompt_BTD = embed(torch.tensor([verbalizer.ids.input_ids])).expand(len(token_BT), -1, -1).clone()
        prompt_BTD[:, verbalizer.ids.slot] = verbalizer.injected(activation_BD).to(prompt_BTD.dtype)
        whole_BTD = torch.cat([prompt_BTD, embed(token_BT)], 1)
        logits_BTV = model(inputs_embeds=whole_BTD, use_cache=False).logits[:, prompt_BTD.shape[1] - 1 : -1]
    return logits_BTV.double().log_softmax(-1).gather(2, token_BT[..., None]).squeeze(2)


def test_plain_writes_what_is_scored_and_local_equals_it_or_refuses(family, make_pair, activations):
    pair = make_pair(family)
    plain = PlainRollout(batch_size=5)(pair.at().verbalizer, activations, range(12))
    with torch.no_grad():
        scored = pair.at().verbalizer.logprobs(activations, plain.token_BT, mask_BT=plain.mask_BT)
    torch.testing.assert_close(scored * plain.mask_BT, plain.logp_BT, rtol=0, atol=2e-4)
    if family in STATEFUL:
        assert keeps_state(pair.target.model.config)
        assert isinstance(pair.engine, PlainRollout)
        with pytest.raises(NlaeError, match="rollout=local: blocks of tiny keep a running state.*rollout=plain"):
            LocalRollout()(pair.at().verbalizer, activations, range(12))
        return
    assert isinstance(pair.engine, LocalRollout)
    local = LocalRollout()(pair.at().verbalizer, activations, range(12))
    assert local.text == plain.text
    torch.testing.assert_close(local.logp_BT, plain.logp_BT, rtol=0, atol=2e-4)


@pytest.mark.parametrize("kind", ["resid"])
def test_the_site_is_read_where_it_is_said_to_be(family, kind):
    target = TinyTarget(family=family, layers=3, width=32, vocabulary=400).load()
    self_check(target, Site(kind, 1))


def test_a_later_injection_is_refused_where_everything_is_read_again(make_pair, activations, monkeypatch):
    monkeypatch.setitem(FAMILIES, "lfm2", ("lfm2", HYBRIDS["lfm2"]))
    pair = make_pair("lfm2", point=1)
    with pytest.raises(NlaeError, match=r"injection\.point=1: .* inject at the embedding"):
        pair.verbalize(activations[:2], seeds=[0, 1])


def test_reading_again_picks_and_repeats_rows():
    embedding = nn.Embedding(9, 4)
    cache = Reread(embedding)
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([0]))
    assert cache.seen_BTD is None
