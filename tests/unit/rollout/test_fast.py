"""What makes the local engine fast, against the plain one: the same tokens, whoever shares, joins or is packed."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from nlae.functional.linear import available
from nlae.model.autoencoder import Autoencoder
from nlae.model.injection import InjectionSettings
from nlae.rollout import LocalRollout, PlainRollout, local
from nlae.rollout.attention import Past, shared_prefix_attention
from nlae.rollout.cache import SharedPrefixCache
from nlae.rollout.decoder import Decoder
from nlae.rollout.packing import PackedLinear, PackedSibling, shell
from nlae.target import Site, TinyTarget
from pairs import autoencoder
from rollouts import same

SEEDS = list(range(100, 112))
FAMILIES = ["cohere", "gemma2", "gemma3", "gpt2", "gpt_neox", "granite", "llama", "mistral", "qwen2", "qwen3"]


def learned(pair: Autoencoder) -> Autoencoder:
    """Give the verbalizer's adapter weights that matter."""
    with torch.no_grad():
        for n, weight in enumerate(pair.backbone.parameters_of("verbalizer")):
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(n)))
    return pair


@pytest.mark.usefixtures("many_stops")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("point", ["embedding", 1])
def test_same_tokens_as_the_plain_engine(make_pair, activations, family, point):
    pair = learned(make_pair(family, point=point))
    expected = PlainRollout()(pair.at().verbalizer, activations, SEEDS)
    assert len(set(expected.length.tolist())) > 3
    for size in (12, 5, 1):
        same(LocalRollout(batch_size=size)(pair.at().verbalizer, activations, SEEDS), expected)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("every", [1, 3, 100])
@pytest.mark.usefixtures("many_stops")
def test_neither_packing_nor_seldom_looks_change_a_token(make_pair, activations, packed, every):
    pair = learned(make_pair("llama"))
    expected = PlainRollout()(pair.at().verbalizer, activations, SEEDS)
    engine = LocalRollout(batch_size=5, packed=packed, sync_every=every)
    same(engine(pair.at().verbalizer, activations, SEEDS), expected)


@pytest.mark.usefixtures("many_stops")
def test_rows_join_while_others_are_still_writing(make_pair, activations, monkeypatch):
    pair, rows, joined = make_pair("llama"), [], []
    step, read = Decoder.step, Decoder.read
    monkeypatch.setattr(Decoder, "step", lambda self, c, t, *w: rows.append(len(t)) or step(self, c, t, *w))
    monkeypatch.setattr(
        Decoder,
        "read",
        lambda self, c, first, a, inject: joined.append((first, len(a))) or read(self, c, first, a, inject=inject),
    )
    together = LocalRollout(batch_size=4)(pair.at().verbalizer, activations, SEEDS)
    assert sum(count for _, count in joined) == 12
    assert any(first > 0 for first, _ in joined), "somebody joined rows that were still writing"
    assert max(rows) <= 4
    assert sum(rows) == int(together.length.sum()) - 12, "no step is spent on a finished row"


@pytest.mark.skipif(not available(), reason="this machine has no oneDNN kernel for float32")
def test_weights_are_packed_again_when_and_only_when_they_change(make_pair, activations, monkeypatch):
    pair, packed = make_pair("llama"), []
    before = PackedLinear.__init__
    monkeypatch.setattr(PackedLinear, "__init__", lambda self, *given: packed.append(1) or before(self, *given))
    engine = LocalRollout()
    first = engine(pair.at().verbalizer, activations, SEEDS)
    assert packed
    packed.clear()
    same(engine(pair.at().verbalizer, activations, SEEDS), first)
    assert not packed
    optimizer = torch.optim.AdamW(pair.verbalizer.trainable(), lr=0.1, foreach=False)
    pair.at().verbalizer.logprobs(activations, first.token_BT).sum().backward()
    optimizer.step()
    changed = engine(pair.at().verbalizer, activations, SEEDS)
    assert packed
    assert changed.text != first.text
    logp_BT = pair.at().verbalizer.logprobs(activations, changed.token_BT)
    assert ((logp_BT - changed.logp_BT) * changed.mask_BT).abs().max() < 2e-4


@pytest.mark.skipif(not available(), reason="this machine has no oneDNN kernel for float32")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 0, 2)])
def test_maps_of_one_input_are_one_product_in_whatever_order_they_are_asked(order):
    torch.manual_seed(0)
    owner = nn.Module()
    for number, name in enumerate(("q_proj", "k_proj", "v_proj")):
        owner.add_module(name, nn.Linear(6, 3 + number, bias=number == 1))
    owner.add_module("o_proj", nn.Linear(6, 6))
    plain_maps = list(owner.children())
    packed = list(shell(owner, "verbalizer", dtype=torch.float32).children())
    assert [type(module) for module in packed] == [PackedSibling] * 3 + [PackedLinear]
    for rows in (4, 1):
        x_BI = torch.randn(rows, 2, 6)
        for number in order:
            torch.testing.assert_close(packed[number](x_BI), plain_maps[number](x_BI))
    freed = weakref.ref(x_BI)
    del x_BI
    assert freed() is None, "an input outlives its use"
    assert [type(module) for module in shell(owner, "verbalizer", dtype=None).children()] == [nn.Linear] * 4


@pytest.mark.parametrize("packed", [False, True])
def test_the_prompts_prefix_is_read_for_every_call_unless_packing_tells_that_nothing_changed(
    make_pair, activations, monkeypatch, packed
):
    pair, engine = learned(make_pair("llama")), LocalRollout(batch_size=5, packed=packed)
    n_prefix, runs = len(pair.at().verbalizer.ids.prefix_ids), []
    model = pair.backbone.language_model("verbalizer").model

    def count(_module, _inputs, named):
        if "input_ids" in named and named["input_ids"].shape == (1, n_prefix):
            runs.append(1)

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    first = engine(pair.at().verbalizer, activations, SEEDS)
    same(engine(pair.at().verbalizer, activations, SEEDS), first)
    assert len(runs) == (1 if packed and available() else 2)
    pair.backbone.parameters_of("verbalizer")[0].data.mul_(3)
    changed = engine(pair.at().verbalizer, activations, SEEDS)
    assert len(runs) == (2 if packed and available() else 3)
    hook.remove()
    same(changed, PlainRollout()(pair.at().verbalizer, activations, SEEDS))


def test_what_was_sampled_may_enter_a_backward(make_pair, activations):
    pair = make_pair("llama")
    found = LocalRollout()(pair.at().verbalizer, activations, SEEDS)
    assert not any(tensor.is_inference() for tensor in (found.token_BT, found.mask_BT, found.logp_BT))
    (pair.at().verbalizer.logprobs(activations, found.token_BT) * found.logp_BT).sum().backward()
    assert any(float(weight.grad.abs().max()) > 0 for weight in pair.verbalizer.trainable() if weight.grad is not None)


def test_a_reference_that_is_frozen_anew_is_packed_anew(make_pair, activations):
    pair, engine = learned(make_pair("llama")), LocalRollout()
    pair.verbalizer.freeze_reference()
    first = engine(pair.at().verbalizer, activations, SEEDS, role="reference")
    with torch.no_grad():
        for weight in pair.backbone.parameters_of("verbalizer"):
            weight.mul_(1.5)
    pair.verbalizer.freeze_reference()
    second = engine(pair.at().verbalizer, activations, SEEDS, role="reference")
    assert second.text != first.text
    same(second, LocalRollout()(pair.at().verbalizer, activations, SEEDS, role="reference"))


def test_the_models_own_modules_stay_as_they_are(make_pair, activations):
    pair = make_pair("llama")
    names = [(name, type(module)) for name, module in pair.target.model.named_modules()]
    kind = pair.target.model.config._attn_implementation
    ids_1T = torch.tensor([[5, 6, 7, 8]])
    expected = pair.target.model(ids_1T).logits
    LocalRollout()(pair.at().verbalizer, activations, SEEDS)
    assert [(name, type(module)) for name, module in pair.target.model.named_modules()] == names
    assert pair.target.model.config._attn_implementation == kind
    assert torch.equal(pair.target.model(ids_1T).logits, expected)


def test_a_window_shorter_than_the_prompt(prompt, activations, make_pair):
    pair = make_pair("gemma3")
    config = pair.target.model.config
    assert config.sliding_window is not None
    total = (
        len(pair.at().verbalizer.ids.prefix_ids) + 1 + len(pair.at().verbalizer.ids.suffix_ids) + pair.prompt.max_tokens
    )
    assert total > config.sliding_window, "otherwise this tests nothing"
    same(
        LocalRollout(batch_size=5)(pair.at().verbalizer, activations, SEEDS),
        PlainRollout()(pair.at().verbalizer, activations, SEEDS),
    )


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("window", [None, 4])
def test_attention_equals_the_written_out_one(shared, softcap, window):
    torch.manual_seed(0)
    batch, heads, queries, width, n_prefix, n_own = 3, 4, 2, 5, 6, 4
    query = torch.randn(batch, heads, queries, width, dtype=torch.float64)
    prefix = [torch.randn(shared, n_prefix, width, dtype=torch.float64) for _ in range(2)]
    own = [torch.randn(batch, shared, n_own, width, dtype=torch.float64) for _ in range(2)]
    place = torch.tensor([[0, 1], [1, 2], [2, 3]])  # among a row's own entries
    mask = (torch.arange(n_own) <= place[..., None])[:, None]
    past = [Past(p, o.flatten(0, 1), place + n_prefix, False) for p, o in zip(prefix, own, strict=True)]
    out, _ = shared_prefix_attention(None, query, *past, mask, scaling=0.3, softcap=softcap, sliding_window=window)
    for b in range(batch):
        for h in range(heads):
            kv = h * shared // heads
            for s in range(queries):
                key, value = (torch.cat([p[kv], o[b, kv]]) for p, o in zip(prefix, own, strict=True))
                score = key @ query[b, h, s] * 0.3
                score = softcap * torch.tanh(score / softcap) if softcap else score
                j, at = torch.arange(n_prefix + n_own), n_prefix + place[b, s]
                seen = (j <= at) & ((at - j < window) if window else True)
                weight = score.masked_fill(~seen, float("-inf")).softmax(0)
                torch.testing.assert_close(out[b, s, h], weight @ value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mixed", [False, True])
def test_narrow_attention_on_a_cpu_rounds_its_ends_alone(mixed):
    """Also under autocast, and whatever type the queries of a layer come in."""
    torch.manual_seed(0)
    query_BHSD = torch.randn(3, 4, 1, 8).to(torch.bfloat16)
    prefix, own = [torch.randn(2, 6, 8) for _ in range(2)], [torch.randn(6, 4, 8) for _ in range(2)]
    mask, position = torch.ones(3, 1, 1, 4, dtype=torch.bool), torch.full((3, 1), 9)
    past = [Past(p, o, position, True) for p, o in zip(prefix, own, strict=True)]
    expected, _ = shared_prefix_attention(None, query_BHSD.float(), *past, mask)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        found, _ = shared_prefix_attention(None, query_BHSD, *past, mask)
    assert torch.equal(found, expected.to(torch.bfloat16))


def test_a_cache_on_a_cpu_keeps_narrow_entries_wide():
    prefix, entries = DynamicCache(), torch.randn(1, 2, 3, 4).to(torch.bfloat16)
    prefix.update(entries, entries, 0)
    cache = SharedPrefixCache(prefix, 3, rows=5, room=7)
    new_BKSD = torch.randn(2, 2, 1, 4).to(torch.bfloat16)
    cache.aim(1, 2, torch.full((2, 1), 3), 1, 0)
    for past in cache.update(new_BKSD, new_BKSD, 0):
        assert past.prefix_KPD.dtype is past.own_NTD.dtype is torch.float32
        assert torch.equal(past.prefix_KPD, entries[0].float())
        assert torch.equal(past.own_NTD, new_BKSD.flatten(0, 1).float())


def test_a_prompt_that_starts_at_its_slot(prompt, activations):
    import dataclasses

    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    bare = dataclasses.replace(prompt, verbalizer="{slot} means", raw_verbalizer="{slot} means", max_tokens=8)
    target.tokenizer.chat_template = None
    pair = autoencoder(target, Site(layer=0), None, bare, injection=InjectionSettings(scale=6.0))
    same(
        LocalRollout(batch_size=5)(pair.at().verbalizer, activations, SEEDS),
        PlainRollout()(pair.at().verbalizer, activations, SEEDS),
    )


def test_a_free_row_waits_for_company(make_pair, activations, monkeypatch):
    """Reading one prompt costs nearly as much as reading four."""
    joined: list[int] = []
    read = Decoder.read
    monkeypatch.setattr(
        Decoder,
        "read",
        lambda self, c, first, a, inject: joined.append(len(a)) or read(self, c, first, a, inject=inject),
    )
    monkeypatch.setattr(local, "JOIN_SHARE", 1.0)
    LocalRollout(batch_size=4)(make_pair("llama").at().verbalizer, activations, SEEDS)
    assert joined == [4, 4, 4]
