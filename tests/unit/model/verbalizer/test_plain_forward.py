"""The verbalizer against plain forwards of the same model: one whole prompt, no cache, no chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from nlae.functional import likelihood
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import VERBALIZER
from pairs import N, responses

FAMILIES = ["llama", "gemma2", "gemma3", "gpt2", "gpt_neox", "cohere", "granite", "hyperclovax"]


def expected_slot(pair: Autoencoder, activation_GD: Tensor, here_BD: Tensor, role: str = VERBALIZER) -> Tensor:
    """What the slot must hold, from the definitions."""
    vector_BD = (unit(activation_GD) * 6.0).repeat_interleave(N, 0)
    if pair.verbalizer.injection.mode == "affine":
        map_ = pair.at().verbalizer.maps[role]
        vector_BD = vector_BD.to(map_.weight) @ map_.weight.T + map_.bias
    if pair.verbalizer.injection.mode == "add":
        here_BD = here_BD.float()
        vector_BD = here_BD + here_BD.norm(dim=-1, keepdim=True) * unit(vector_BD)
    return vector_BD.to(pair.target.dtype)


@contextmanager
def after_block(pair: Autoencoder, j: int, activation_GD: Tensor) -> Iterator[None]:
    slot = pair.at().verbalizer.ids.slot

    def write(_module: object, _inputs: object, output: object) -> object:
        hidden_BTD = (output[0] if isinstance(output, tuple) else output).clone()
        hidden_BTD[:, slot] = expected_slot(pair, activation_GD, hidden_BTD[:, slot])
        return (hidden_BTD, *output[1:]) if isinstance(output, tuple) else hidden_BTD

    handle = pair.target.architecture.blocks(pair.target.model)[j].register_forward_hook(write)
    yield
    handle.remove()


def plain_logprobs(pair: Autoencoder, activation_GD: Tensor, token_BT: Tensor) -> Tensor:
    """The Hugging Face model's own forward over prompt and response, the slot written by hand."""
    ids, model = pair.at().verbalizer.ids, pair.target.model
    prompt_BT = torch.tensor([ids.input_ids]).expand(len(token_BT), -1)
    with pair.backbone.use(VERBALIZER):
        embedded_BTD = pair.target.architecture.embedding(model)(torch.cat([prompt_BT, token_BT], 1))
        if pair.verbalizer.injection.point == "embedding":
            embedded_BTD = embedded_BTD.clone()
            times = getattr(model.config, "embedding_multiplier", 1.0)  # the model's own, applied to what it is given
            embedded_BTD[:, ids.slot] = expected_slot(pair, activation_GD, embedded_BTD[:, ids.slot] * times) / times
            logits_BTV = model(inputs_embeds=embedded_BTD, use_cache=False).logits
        else:
            with after_block(pair, int(pair.verbalizer.injection.point), activation_GD):
                logits_BTV = model(inputs_embeds=embedded_BTD, use_cache=False).logits
    first = prompt_BT.shape[1] - 1
    logp_BTV = logits_BTV[:, first:-1].double().log_softmax(-1)
    return logp_BTV.gather(2, token_BT[:, :, None]).squeeze(2)


def agree(pair: Autoencoder, activation_GD: Tensor, tolerance: float) -> None:
    token_BT = responses(pair, len(activation_GD))
    weight_BT = torch.randn(token_BT.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    got_BT = pair.at().verbalizer.logprobs(activation_GD, token_BT)
    want_BT = plain_logprobs(pair, activation_GD, token_BT)
    assert got_BT.dtype == torch.float32
    assert torch.allclose(got_BT.double(), want_BT, atol=tolerance, rtol=tolerance)
    parameters = pair.verbalizer.trainable()
    got = torch.autograd.grad((got_BT * weight_BT).sum(), parameters)
    want = torch.autograd.grad((want_BT * weight_BT).sum(), parameters)
    largest = max(float(part.abs().max()) for part in want)
    assert largest > 0.1
    for mine, theirs in zip(got, want, strict=True):
        assert torch.allclose(mine, theirs, atol=tolerance * largest, rtol=10 * tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_prefix_changes_neither_logprobs_nor_gradients(make_pair, activations, family):
    agree(make_pair(family, dtype="float64"), activations[:3], 2e-6)


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "granite"])
def test_the_scale_is_that_of_the_stream_before_the_first_block(make_pair, activations, family, mode):
    pair, seen = make_pair(family, dtype="float64", mode=mode), []
    block = pair.target.architecture.blocks(pair.target.model)[0]
    handle = block.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.no_grad(), pair.backbone.use(VERBALIZER):
        pair.at().verbalizer.prefill(activations[:3], VERBALIZER)
        handle.remove()
        ids_1T = torch.tensor([pair.at().verbalizer.ids.input_ids])
        own_D = pair.target.model(ids_1T, output_hidden_states=True).hidden_states[0][0, pair.at().verbalizer.ids.slot]
    slot_BD = seen[-1][:, 0]
    given_BD = unit(activations[:3]).double()
    given_BD = 6.0 * given_BD if mode == "replace" else own_D + own_D.norm() * given_BD
    assert torch.allclose(slot_BD.double(), given_BD, atol=1e-5)


def test_the_same_in_float32(make_pair, activations):
    agree(make_pair("llama"), activations[:3], 2e-4)


@pytest.mark.parametrize("mode", ["replace", "add", "affine"])
@pytest.mark.parametrize("point", ["embedding", 0, 1])
def test_every_way_of_injecting_equals_the_same_by_hand(make_pair, activations, mode, point):
    agree(make_pair("llama", dtype="float64", mode=mode, point=point), activations[:2], 2e-6)


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "gpt_neox"])
def test_injecting_after_a_block_in_other_families(make_pair, activations, family):
    agree(make_pair(family, dtype="float64", point=1), activations[:2], 2e-6)


def test_full_weights_equal_a_plain_forward(make_pair, activations):
    pair = make_pair("llama", adapter=None, learned=False)
    own = pair.backbone.full_verbalizer
    with torch.no_grad():
        for weight in own.parameters():
            weight.mul_(1.1)
    token_BT = responses(pair, 2)
    got_BT = pair.at().verbalizer.logprobs(activations[:2], token_BT)
    pair.target.model.load_state_dict(own.state_dict())
    assert torch.allclose(got_BT.double(), plain_logprobs(pair, activations[:2], token_BT), atol=2e-4)


@pytest.mark.parametrize("adapter", [True, False])
def test_logits_in_chunks_give_the_same_numbers_and_gradients(make_pair, activations, monkeypatch, adapter):
    pair = make_pair("gemma2", **({} if adapter else {"adapter": None}))
    token_BT = responses(pair, 3)

    def run() -> list[Tensor]:
        logp_BT = pair.at().verbalizer.logprobs(activations[:3], token_BT)
        # another role between forward and backward must not matter to what is recomputed
        with pair.backbone.use(None):
            return [logp_BT, *torch.autograd.grad(logp_BT.sum(), pair.verbalizer.trainable(), allow_unused=True)]

    whole = run()
    monkeypatch.setattr(likelihood, "HEAD_ROWS", 7)
    for a, b in zip(whole, run(), strict=True):
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-4, rtol=1e-4)
