"""An embedding with more rows than the tokenizer has ids, and one with fewer: no id is drawn that is no text."""

from __future__ import annotations

import pytest
import torch

import fake_vllm
from nlae.errors import NlaeError
from nlae.functional.likelihood import token_logprobs
from nlae.rollout import LocalRollout, PlainRollout, VllmRollout
from nlae.rollout.vllm import Api
from nlae.target import TinyTarget

SEEDS = list(range(12))


class Padded(TinyTarget):
    """As many rows more than ids as said, and the model loves them."""

    rows = 112

    def load_config(self):
        config = super().load_config()
        config.vocab_size += self.rows
        return config

    def load(self, dtype="float32", device="cpu"):
        target = super().load(dtype, device)
        with torch.no_grad():
            known = len(target.tokenizer)
            target.model.get_output_embeddings().weight[known:] *= 3
        return target


class Short(Padded):
    rows = -1


@pytest.fixture
def padded(make_pair):
    return make_pair(source=Padded(layers=3, width=32, vocabulary=400))


@pytest.mark.parametrize("name", ["plain", "local", "vllm"])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_what_the_tokenizer_lacks_is_never_drawn(padded, activations, name, temperature):
    known = len(padded.target.tokenizer)
    assert padded.target.n_tokens == known == padded.target.embedding_rows - 112
    api = Api(fake_vllm.LLM, fake_vllm.SamplingParams, fake_vllm.LoRARequest)
    engine = {"plain": PlainRollout, "local": LocalRollout, "vllm": lambda: VllmRollout(api=api)}[name]()
    rollouts = engine(padded.at().verbalizer, activations, SEEDS, temperature=temperature)
    assert int(rollouts.token_BT.max()) < known
    with torch.no_grad():
        scored_BT = padded.at().verbalizer.logprobs(activations, rollouts.token_BT, mask_BT=rollouts.mask_BT)
    torch.testing.assert_close(scored_BT * rollouts.mask_BT, rollouts.logp_BT * rollouts.mask_BT, rtol=0, atol=2e-4)


def test_all_probability_lies_on_known_ids(padded, activations):
    known = padded.target.n_tokens
    every_BT = torch.arange(known)[:, None]
    with torch.no_grad():
        logp = padded.at().verbalizer.logprobs(activations[:1], every_BT)
    assert float(logp.exp().sum()) == pytest.approx(1, abs=1e-4)
    assert padded.target.next_token_logits([[5, 6, 7]]).shape == (1, known)


def test_a_full_copy_learns_without_its_padding(make_pair, activations):
    pair = make_pair(source=Padded(layers=3, width=32, vocabulary=400), adapter=None)
    token_BT, _ = pair.at().verbalizer.encode_responses(["a river"])
    pair.at().verbalizer.logprobs(activations[:1], token_BT).sum().backward()
    head = pair.backbone.language_model("verbalizer").get_output_embeddings().weight
    assert head.grad[: pair.target.n_tokens].abs().max() > 0
    assert head.grad[pair.target.n_tokens :].abs().max() == 0


def test_without_padding_the_head_is_multiplied_whole(make_pair, activations, monkeypatch):
    """A part of it would cost a copy of its gradient for each micro-batch."""
    pair = make_pair(adapter=None)
    assert pair.target.n_tokens == pair.target.embedding_rows
    given = []
    monkeypatch.setattr(
        "nlae.model.site_verbalizer.token_logprobs",
        lambda *args, **more: given.append(args[2]) or token_logprobs(*args, **more),
    )
    token_BT, _ = pair.at().verbalizer.encode_responses(["a river"])
    pair.at().verbalizer.logprobs(activations[:1], token_BT)
    assert given[0] is pair.backbone.language_model("verbalizer").get_output_embeddings().weight


def test_a_token_that_the_model_lacks_is_named_when_it_is_read():
    target = Short(layers=2, width=32, vocabulary=400).load()
    last = len(target.tokenizer) - 1
    assert target.n_tokens == target.embedding_rows == last
    assert target.next_token_logits([[5, last - 1]]).shape == (1, last)
    with pytest.raises(NlaeError, match=r"the text holds '㊗', a token that the tokenizer has and the model lacks"):
        target.next_token_logits([[5, last]])
