"""Neurons recomputed from MLP inputs are those of a real forward pass, in every family."""

import pytest
import torch

from nlae.dictionary.subjects.neurons import neurons_of
from nlae.target import Site, Target, TinyTarget, capture
from nlae.target.tiny import FAMILIES


def check(target: Target, text: str) -> None:
    ids = torch.tensor([target.tokenizer.encode(text)])
    for layer in (0, target.n_layers - 1):
        into, out = Site("mlp_in", layer), Site("mlp_neurons", layer)
        with torch.no_grad(), capture(target.model, into) as inputs, capture(target.model, out) as neurons:
            target.model(ids)
        expected = neurons.value[0].float()
        found = neurons_of(target, layer, inputs.value[0].float(), batch=5)
        assert found.dtype == torch.float32
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * scale)
        assert scale > 0


TEXT = "The keeper of the lighthouse wrote two letters, one to his sister and one to the captain of the ship."


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_they_are_what_a_forward_pass_shows(family):
    check(TinyTarget(family=family, layers=2).load(), TEXT)


def test_half_precision_is_computed_in_the_targets_type():
    target = TinyTarget(layers=2).load(dtype="bfloat16")
    found = neurons_of(target, 1, torch.randn(7, target.d_model, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(found, found.bfloat16().float())
    assert found.shape == (7, 192)


def test_no_hook_stays_behind():
    target = TinyTarget(layers=1).load()
    neurons_of(target, 0, torch.zeros(3, target.d_model))
    assert not any(module._forward_pre_hooks for module in target.model.modules())
