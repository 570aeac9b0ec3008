"""What a row sees and costs, how often a vector is written, and the frozen reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.functional import injection
from nlae.model import site_verbalizer as module
from nlae.model.backbone import REFERENCE, VERBALIZER
from nlae.model.injection import InjectionSettings
from pairs import responses


def test_trap_11_rows_of_a_batch_do_not_see_each_other(make_pair, activations):
    pair = make_pair("llama")
    activation_GD = activations[:3].clone().requires_grad_(True)
    token_BT = responses(pair, 3)
    logp_BT = pair.at().verbalizer.logprobs(activation_GD, token_BT)
    # rows 2 and 3 belong to the second activation
    gradient_GD = torch.autograd.grad(logp_BT[2:4].sum(), activation_GD)[0]
    assert gradient_GD[1].norm() > 1e-4
    assert torch.equal(gradient_GD[[0, 2]], torch.zeros(2, gradient_GD.shape[1]))
    alone_BT = pair.at().verbalizer.logprobs(activations[1:2], token_BT[2:4])
    assert torch.allclose(logp_BT[2:4], alone_BT, atol=1e-4)
    changed_BT = token_BT.clone()
    changed_BT[0], changed_BT[1, 5:] = 4, 9
    again_BT = pair.at().verbalizer.logprobs(activations[:3], changed_BT)
    assert torch.allclose(again_BT[2:], logp_BT[2:], atol=1e-5)
    # within a row the past is seen and the future is not
    assert torch.allclose(again_BT[1, :5], logp_BT[1, :5], atol=1e-5)


def test_padding_may_hold_anything(make_pair, activations):
    pair = make_pair("llama")
    token_BT, mask_BT = pair.at().verbalizer.encode_responses(["a cat", "a much longer text about a cat"])
    other_BT = torch.where(mask_BT.bool(), token_BT, 77)
    one_BT, two_BT = (pair.at().verbalizer.logprobs(activations[:2], ids) for ids in (token_BT, other_BT))
    assert torch.allclose(one_BT[mask_BT.bool()], two_BT[mask_BT.bool()], atol=1e-5)


@pytest.mark.parametrize("adapter", [True, False])
def test_what_is_masked_costs_nothing_and_changes_nothing(make_pair, activations, monkeypatch, adapter):
    pair = make_pair("llama", **({"dtype": "float64"} if adapter else {"adapter": None}))
    token_BT = responses(pair, 3)
    mask_BT = torch.arange(12)[None] < torch.tensor([3, 12, 1, 7, 12, 5])[:, None]
    seen, plain = [], module.token_logprobs
    monkeypatch.setattr(module, "token_logprobs", lambda h, *a, **k: seen.append(len(h)) or plain(h, *a, **k))
    weights = pair.verbalizer.trainable()
    want_BT = pair.at().verbalizer.logprobs(activations[:3], token_BT) * mask_BT
    got_BT = pair.at().verbalizer.logprobs(activations[:3], token_BT, mask_BT=mask_BT)
    assert seen == [72, 40]
    assert torch.allclose(got_BT, want_BT, atol=1e-5)
    assert not got_BT[~mask_BT].any()
    want = torch.autograd.grad(want_BT.square().sum(), weights, allow_unused=True)
    got = torch.autograd.grad(got_BT.square().sum(), weights, allow_unused=True)
    for a, b in zip(got, want, strict=True):
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-4 * float(b.abs().max()) + 1e-9, rtol=1e-4)


def test_the_prompt_is_read_once_per_vector(make_pair, activations):
    pair, seen = make_pair("llama"), []
    block = pair.target.architecture.blocks(pair.target.model)[0]
    handle = block.register_forward_hook(lambda m, i, o: seen.append((o[0] if isinstance(o, tuple) else o).shape[:2]))
    pair.at().verbalizer.logprobs(activations[:3], responses(pair, 3))
    handle.remove()
    ids = pair.at().verbalizer.ids
    assert [tuple(shape) for shape in seen] == [(1, len(ids.prefix_ids)), (3, 1 + len(ids.suffix_ids)), (6, 11)]


@pytest.mark.parametrize("point", ["embedding", 1])
def test_trap_10_injected_at_prefill_and_never_again(make_pair, activations, monkeypatch, point):
    pair = make_pair("llama", point=point)
    calls: list[int] = []
    plain = injection.inject

    def counting(hidden_BTD: Tensor, *args: object, **more: object) -> Tensor:
        calls.append(hidden_BTD.shape[1])
        return plain(hidden_BTD, *args, **more)

    monkeypatch.setattr(injection, "inject", counting)
    token_BT = responses(pair, 6)[:, :6]
    with torch.no_grad(), pair.backbone.use(VERBALIZER):
        logits_BV, cache = pair.at().verbalizer.prefill(activations, VERBALIZER)
        steps = [logits_BV]
        for t in range(5):
            steps.append(pair.at().verbalizer.step(token_BT[:, t], cache, VERBALIZER))
    assert calls == [1 + len(pair.at().verbalizer.ids.suffix_ids)], "once, while the slot is there"
    logp_BT = torch.stack(steps, 1).log_softmax(-1).gather(2, token_BT[:, :, None]).squeeze(2)
    assert torch.allclose(logp_BT, pair.at().verbalizer.logprobs(activations, token_BT), atol=1e-4)


def test_without_injection_the_marker_keeps_its_own_embedding(make_pair, activations):
    pair = make_pair("llama")
    with torch.no_grad(), pair.backbone.use(VERBALIZER):
        logits_BV, _ = pair.at().verbalizer.prefill(activations[:2], VERBALIZER, inject_vector=False)
        plain_1V = pair.target.model(torch.tensor([pair.at().verbalizer.ids.input_ids])).logits[0, -1]
    assert torch.allclose(logits_BV, plain_1V.expand(2, -1), atol=1e-4)


def test_trap_09_a_silent_miss_stops_the_run(make_pair, activations, monkeypatch):
    pair = make_pair("llama", point=1)
    monkeypatch.setattr(pair.at().verbalizer, "_after_block", lambda model, writer: torch.no_grad())
    with pytest.raises(NlaeError, match="injected 0 times instead of once"):
        pair.at().verbalizer.logprobs(activations[:2], responses(pair, 2))


def test_the_vector_is_read_direction_only(make_pair, activations):
    pair = make_pair("llama")
    token_BT = responses(pair, 2)
    one_BT = pair.at().verbalizer.logprobs(activations[:2], token_BT)
    assert torch.allclose(one_BT, pair.at().verbalizer.logprobs(100 * activations[:2], token_BT), atol=1e-5)
    assert not torch.allclose(one_BT, pair.at().verbalizer.logprobs(activations[2:4], token_BT), atol=1e-2)


def test_responses_are_what_the_sampler_would_have_to_write(make_pair):
    pair = make_pair("llama")
    token_BT, mask_BT = pair.at().verbalizer.encode_responses(["a cat", "the dog ran"])
    for row, mask, text in zip(token_BT, mask_BT, ["a cat", "the dog ran"], strict=True):
        written = pair.target.tokenizer.decode(row[mask.bool()])
        assert pair.prompt.parse(written) == (text, True)


@pytest.mark.parametrize("settings", [{"mode": "stir"}, {"point": 3}, {"point": -1}, {"point": "head"}])
def test_unknown_injections_name_what_exists(settings):
    with pytest.raises(NlaeError, match="choose"):
        InjectionSettings(**settings).check(3)


def test_trap_17_reference_is_a_frozen_copy_of_adapter_and_map(make_pair, activations):
    pair = make_pair("llama", mode="affine")
    verbalizer, token_BT = pair.at().verbalizer, responses(pair, 2)
    pair.verbalizer.freeze_reference()
    before_BT = verbalizer.logprobs(activations[:2], token_BT)
    held_BT = verbalizer.logprobs(activations[:2], token_BT, role=REFERENCE)
    assert torch.equal(before_BT, held_BT), "what has been learned so far, map included"
    assert not held_BT.requires_grad
    ids = {id(p) for p in pair.verbalizer.trainable()}
    frozen = [*pair.backbone.parameters_of(REFERENCE), *verbalizer.maps[REFERENCE].parameters()]
    assert len(frozen) == len(ids)
    assert not any(id(p) in ids or p.requires_grad for p in frozen)
    for parameters in (pair.backbone.parameters_of(VERBALIZER), list(verbalizer.maps[VERBALIZER].parameters())):
        with torch.no_grad():
            for parameter in parameters:
                parameter += 0.05
        moved_BT = verbalizer.logprobs(activations[:2], token_BT)
        assert not torch.allclose(moved_BT, before_BT, atol=1e-3)
        assert torch.equal(verbalizer.logprobs(activations[:2], token_BT, role=REFERENCE), held_BT)
        before_BT = moved_BT


def test_trap_17_with_full_weights(make_pair, activations):
    pair = make_pair("llama", adapter=None)
    token_BT = responses(pair, 2)
    pair.verbalizer.freeze_reference()
    held_BT = pair.at().verbalizer.logprobs(activations[:2], token_BT, role=REFERENCE)
    assert torch.equal(held_BT, pair.at().verbalizer.logprobs(activations[:2], token_BT))
    with torch.no_grad():
        for parameter in pair.verbalizer.trainable():
            parameter *= 1.2
    assert torch.equal(held_BT, pair.at().verbalizer.logprobs(activations[:2], token_BT, role=REFERENCE))
    assert not torch.allclose(held_BT, pair.at().verbalizer.logprobs(activations[:2], token_BT), atol=1e-2)
