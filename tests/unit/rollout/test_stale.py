"""Rollouts sample from the weights that are there, whoever wrote them and whatever counts their writes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from nlae.model.adapters import AdapterSettings
from nlae.model.autoencoder import Autoencoder
from nlae.model.optimizer import ADAMW, optimizer_of
from nlae.rollout import LocalRollout, PlainRollout
from rollouts import same

SEEDS = list(range(12))
RATE = 0.05


class ThroughData(torch.optim.Optimizer):
    """A user's own: it writes through `.data`, and what writes are counted by never hears of it."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.data.add_(weight.grad.sign(), alpha=-RATE)


class Exchanging(ThroughData):
    """Another: it puts new tensors where the old ones were."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for weight in self.param_groups[0]["params"]:
            if weight.grad is not None:
                weight.data = weight.data - RATE * weight.grad.sign()


def fused(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.98), fused=True)


def eight_bits(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("needs nlae[quantize]")
    from bitsandbytes.optim import AdamW8bit

    return optimizer_of(AdamW8bit, parameters, RATE, 0.0)


def thirty_two(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    return optimizer_of(ADAMW, parameters, RATE, 0.0)


@pytest.mark.filterwarnings("ignore")  # bitsandbytes warns of other things than states at its import
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("adapter", [AdapterSettings(4, 8.0), None], ids=["adapter", "whole"])
@pytest.mark.parametrize("make", [thirty_two, fused, eight_bits, ThroughData, Exchanging])
def test_every_step_of_any_optimizer_reaches_the_next_rollout(make_pair, activations, make, adapter, packed):
    pair, engine = make_pair("llama", adapter=adapter), LocalRollout(packed=packed)
    optimizer, before = make(pair.verbalizer.trainable()), engine(pair.at().verbalizer, activations, SEEDS)
    for _ in range(3):
        logp_BT = pair.at().verbalizer.logprobs(activations, before.token_BT)
        (logp_BT * before.mask_BT).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        before = followed(pair, engine, activations, before.text)


def followed(pair: Autoencoder, engine: LocalRollout, activations: torch.Tensor, unlike: list[str]) -> Any:
    """A rollout that is the plain engine's, of a policy that has moved."""
    said = engine(pair.at().verbalizer, activations, SEEDS)
    same(said, PlainRollout()(pair.at().verbalizer, activations, SEEDS))
    assert said.text != unlike, "the step changed nothing that a rollout could miss"
    with torch.no_grad():
        logp_BT = pair.at().verbalizer.logprobs(activations, said.token_BT)
    assert ((logp_BT - said.logp_BT).abs() * said.mask_BT).sum() / said.mask_BT.sum() < 1e-4
    return said


def restored(pair: Autoencoder, state: dict[str, torch.Tensor]) -> None:
    pair.load_trained_state(state)


def exchanged(pair: Autoencoder, state: dict[str, torch.Tensor]) -> None:
    start = "verbalizer."
    own = {key.removeprefix(start): weight for key, weight in state.items() if key.startswith(start)}
    for weight, new in zip(pair.backbone.parameters_of("verbalizer"), own.values(), strict=True):
        weight.data = new.clone()


def copied_in(pair: Autoencoder, state: dict[str, torch.Tensor]) -> None:
    start = "verbalizer."
    own = {key.removeprefix(start): weight for key, weight in state.items() if key.startswith(start)}
    for weight, new in zip(pair.backbone.parameters_of("verbalizer"), own.values(), strict=True):
        weight.data.copy_(new)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("load", [restored, exchanged, copied_in])
def test_weights_that_are_loaded_reach_the_next_rollout(
    make_pair, activations, load: Callable[[Autoencoder, dict[str, torch.Tensor]], None], packed
):
    pair, engine = make_pair("llama"), LocalRollout(packed=packed)
    first = engine(pair.at().verbalizer, activations, SEEDS)
    load(pair, {key: 1.7 * weight for key, weight in pair.trained_state().items()})
    followed(pair, engine, activations, first.text)


@pytest.mark.parametrize("packed", [False, True])
def test_frozen_weights_that_are_written_or_moved_reach_the_next_rollout(make_pair, activations, packed):
    pair, engine = make_pair("llama"), LocalRollout(packed=packed)
    first = engine(pair.at().verbalizer, activations, SEEDS)
    frozen = [weight for name, weight in pair.target.model.named_parameters() if ".lora_" not in name]
    with torch.no_grad():
        for weight in frozen:
            weight.mul_(1.1)
    second = followed(pair, engine, activations, first.text)
    for weight in frozen:
        weight.data = weight.data * 1.1
    followed(pair, engine, activations, second.text)
