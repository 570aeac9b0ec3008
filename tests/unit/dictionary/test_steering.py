import pytest
import torch
from torch import nn

from nlae.dictionary.steering import (
    TOLERANCE,
    SteeringSettings,
    direction_scores,
    log_odds,
    output_scores,
    ranks,
    write_directions,
)
from nlae.target import Site, Target, TinyTarget

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


def test_the_divergence_is_matched_and_the_gain_is_what_the_whole_model_says(target):
    neurons, kl = [0, 7, 30], 0.05
    promoted = torch.tensor([[9, 11], [20, 21], [33, 9]])
    settings = SteeringSettings(kl=kl, random=4, rows=6)
    write = write_directions(target, 1, neurons)
    found = direction_scores(target, Site("mlp_out", 1), write, promoted, CONTEXT_BT, settings)
    base = steered(target, 1, None)
    norm = found.scale_n  # in units of the typical output; recover it from the divergence instead
    assert bool((norm > 0).all())
    for row in range(len(neurons)):
        unit = write[row] / write[row].norm()
        low, high = 0.0, 1e4
        for _ in range(60):  # plain bisection, another way to the same loudness
            middle = (low + high) / 2
            logp = steered(target, 1, middle * unit)
            reached = float((logp.exp() * (logp - base)).sum(-1).mean())
            low, high = (middle, high) if reached < float(found.kl_n[row]) else (low, middle)
        gain = (log_odds(logp) - log_odds(base))[:, promoted[row]].mean()
        assert float(found.gain_n[row]) == pytest.approx(float(gain), abs=5e-3)
    assert bool(((found.kl_n / kl - 1).abs() <= TOLERANCE).all())
    assert found.random_reached == 1.0


def test_a_direction_that_writes_a_token_scores_high_and_a_random_one_chance():
    target = TinyTarget(layers=3, width=32, vocabulary=400).load()
    token, last = 123, 2
    unembedding = target.model.get_output_embeddings().weight.detach()
    source = torch.Generator().manual_seed(3)
    directions = torch.cat([unembedding[token][None], torch.randn(12, 32, generator=source)])
    promoted = torch.cat([torch.tensor([[token]]), torch.randint(5, 390, (12, 1), generator=source)])
    settings = SteeringSettings(kl=0.3, random=24)
    found = direction_scores(target, Site("mlp_out", last), directions, promoted, CONTEXT_BT, settings)
    assert float(found.score_n[0]) > 0.95
    assert float(found.gain_n[0]) > float(found.random_n[0]) + 1
    assert float(found.rank_n[0]) > 1
    assert abs(float(found.score_n[1:].mean()) - 0.5) < 0.2
    assert float(found.decoy_n[0]) < float(found.gain_n[0])
    assert float(found.decoy_score_n[0]) < 0.8  # another direction's token is no business of this one


def test_the_other_sign_lowers_what_this_one_raises():
    target = TinyTarget(layers=3, width=32, vocabulary=400).load()
    write = write_directions(target, 2, [4])
    top = (write @ target.model.get_output_embeddings().weight.detach().T).topk(5).indices
    both = torch.cat([top, top])
    found = output_scores(target, 2, [4, 4], both, CONTEXT_BT, SteeringSettings(kl=0.1, random=8), signs=[1, -1])
    assert float(found.gain_n[0]) > 0 > float(found.gain_n[1])
    assert float(found.score_n[0]) > 0.7 > 0.3 > float(found.score_n[1])


def test_write_directions_are_what_a_neuron_adds(target):
    down = target.architecture.down_projection(target.architecture.blocks(target.model)[1])
    one = torch.zeros(2, 96)
    one[1, 17] = 1.0
    with torch.no_grad():
        out = down(one)
    assert torch.allclose(write_directions(target, 1, [17])[0], out[1] - out[0], atol=1e-6)


def test_a_direction_that_changes_nothing_has_no_score():
    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    found = direction_scores(
        target, Site("mlp_out", 1), torch.zeros(1, 32), torch.tensor([[9]]), CONTEXT_BT, SteeringSettings(random=2)
    )
    assert found.score_n.isnan().all()


def test_ranks_count_from_one():
    logp = torch.log_softmax(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), -1)
    assert ranks(logp, torch.tensor([0, 1, 2, 3])).tolist() == [[4, 1, 3, 2]]


def test_shapes_are_checked():
    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    with pytest.raises(ValueError, match="directions"):
        direction_scores(target, Site("mlp_out", 1), torch.zeros(2, 32), torch.tensor([[9]]), CONTEXT_BT)


def test_the_other_side_of_a_neuron_is_not_another_neuron():
    target = TinyTarget(layers=3, width=32, vocabulary=400).load()
    promoted = torch.tensor([[9, 11], [20, 21], [33, 12]])
    settings = SteeringSettings(kl=0.05, random=4)

    def decoys(neurons: list[int], signs: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        found = output_scores(target, 1, neurons, promoted[: len(neurons)], CONTEXT_BT, settings, signs=signs)
        return found.decoy_n, found.decoy_score_n

    both, alone = decoys([4, 4, 8], [1, -1, 1])[0], decoys([4, 4], [1, -1])
    apart = decoys([4, 5, 8], [1, -1, 1])[0]
    assert float(both[0]) == pytest.approx(float(apart[0]), abs=1e-6)  # the third one's tokens either way
    plus = output_scores(target, 1, [4, 8], promoted[[1, 2]], CONTEXT_BT, settings, signs=[-1, 1])
    assert float(both[1]) == pytest.approx(float(plus.decoy_n[0]), abs=1e-4)
    assert all(bool(figures.isnan().all()) for figures in alone)


def test_a_pairs_own_target_with_its_adapters_aside_is_the_target(make_pair):
    """What lets a dictionary judge and steer without loading the model a second time."""
    pair = make_pair("llama")
    fresh = TinyTarget(layers=3, width=32, vocabulary=400).load()
    promoted, settings = torch.arange(12).view(3, 4), SteeringSettings(kl=0.05, random=4)
    wanted = output_scores(fresh, 1, [4, 5, 8], promoted, CONTEXT_BT, settings)
    with pair.backbone.use(None):
        found = output_scores(pair.target, 1, [4, 5, 8], promoted, CONTEXT_BT, settings)
    with pair.backbone.use("verbalizer"):
        other = output_scores(pair.target, 1, [4, 5, 8], promoted, CONTEXT_BT, settings)
    assert torch.equal(found.gain_n, wanted.gain_n)
    assert not torch.allclose(other.gain_n, wanted.gain_n)
