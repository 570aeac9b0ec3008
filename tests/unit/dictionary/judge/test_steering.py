"""Output scores: the loudness that a divergence takes, and what is promoted at it beside what is not."""

import pytest
import torch
from torch import nn

from nlae.dictionary.judge import steering
from nlae.dictionary.judge.steering import TOLERANCE, Steered, log_odds, output_scores
from nlae.target import Target, TinyTarget

CONTEXT_BT = torch.randint(5, 300, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["gemma3", "gpt2", "llama"])
def target(request: pytest.FixtureRequest) -> Target:
    return TinyTarget(family=request.param, layers=3, width=32, vocabulary=400).load()


@torch.no_grad()
def steered(target: Target, layer: int, push_D: torch.Tensor | None) -> torch.Tensor:
    """Log-probabilities after the contexts, read whole and without a cache, the push added at the last position."""
    block = target.architecture.blocks(target.model)[layer]

    def add(_module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        changed[:, -1] += push_D if push_D is not None else 0.0
        return changed

    handle = target.architecture.mlp(block).register_forward_hook(add)
    try:
        return target.next_token_logits(CONTEXT_BT.tolist()).log_softmax(-1)
    finally:
        handle.remove()


def test_the_gain_at_the_matched_divergence_is_what_the_whole_model_says(target):
    kl, tokens_U = 0.05, torch.tensor([9, 11, 33])
    direction_nD = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        gain_nBU = Steered(target, 1, CONTEXT_BT, tokens_U, kl).gains(direction_nD)
    base = steered(target, 1, None)
    for gain_BU, direction_D in zip(gain_nBU, direction_nD, strict=True):
        ends = []
        for wanted in (kl * (1 - TOLERANCE), kl * (1 + TOLERANCE)):
            low, high = 0.0, 1e4
            for _ in range(60):  # plain bisection, another way to the same loudness
                middle = (low + high) / 2
                logp = steered(target, 1, middle * direction_D / direction_D.norm())
                reached = float((logp.exp() * (logp - base)).sum(-1).mean())
                low, high = (middle, high) if reached < wanted else (low, middle)
            ends.append((log_odds(logp) - log_odds(base))[:, tokens_U])
        slack = (ends[0] - ends[1]).abs() + 5e-3
        assert bool(((gain_BU - (ends[0] + ends[1]) / 2).abs() <= slack).all())


def writes(target: Target, layer: int, rows_nD: torch.Tensor) -> list[int]:
    """Let the first neurons of a block write these directions."""
    target.architecture.down_weight(target.architecture.blocks(target.model)[layer]).data[:, : len(rows_nD)] = rows_nD.T
    return list(range(len(rows_nD)))


def test_a_neuron_that_writes_a_token_scores_high_and_a_random_one_chance(monkeypatch):
    target = TinyTarget(layers=3, width=32, vocabulary=400).load()
    unembedding = target.model.get_output_embeddings().weight.detach()
    source = torch.Generator().manual_seed(3)
    neurons = writes(target, 2, torch.cat([unembedding[123][None], torch.randn(12, 32, generator=source)]))
    promoted = torch.cat([torch.tensor([[123]]), torch.randint(5, 390, (12, 1), generator=source)])
    own, null = output_scores(target, 2, neurons, [1] * 13, promoted, CONTEXT_BT, kl=0.3)
    assert float(own[0]) > 0.95
    assert abs(float(own[1:].mean()) - 0.5) < 0.2
    assert abs(float(null.mean()) - 0.5) < 0.2  # another neuron's token is no business of this one
    monkeypatch.setattr(steering, "ROWS", 9)
    again, _ = output_scores(target, 2, neurons, [1] * 13, promoted, CONTEXT_BT, kl=0.3)
    assert torch.allclose(own, again, atol=0.05)  # how many are steered with at a time changes nothing but rounding


def test_the_other_sign_lowers_what_this_one_raises_and_is_not_another_neuron():
    target = TinyTarget(layers=3, width=32, vocabulary=400).load()
    block = target.architecture.blocks(target.model)[2]
    write = target.architecture.down_weight(block).detach()[:, [4]].T
    one = torch.zeros(2, 96)
    one[1, 4] = 1.0
    with torch.no_grad():
        out = target.architecture.down_projection(block)(one)
    assert torch.allclose(write[0], out[1] - out[0], atol=1e-6)  # it is what the neuron adds
    top = (write @ target.model.get_output_embeddings().weight.detach().T).topk(5).indices
    own, null = output_scores(target, 2, [4, 4], [1, -1], torch.cat([top, top]), CONTEXT_BT, kl=0.1)
    assert float(own[0]) > 0.7 > 0.3 > float(own[1])
    assert null.isnan().all()
    three = torch.cat([top, top, torch.tensor([[9, 11, 20, 21, 33]])])
    _, null = output_scores(target, 2, [4, 4, 8], [1, -1, 1], three, CONTEXT_BT, kl=0.1)
    apart, _ = output_scores(target, 2, [4, 4], [1, -1], three[[2, 2]], CONTEXT_BT, kl=0.1)
    assert torch.allclose(null[:2], apart)  # the third one's tokens either way


def test_a_direction_that_changes_nothing_has_no_score():
    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    own, _ = output_scores(target, 1, writes(target, 1, torch.zeros(1, 32)), [1], torch.tensor([[9]]), CONTEXT_BT)
    assert own.isnan().all()
