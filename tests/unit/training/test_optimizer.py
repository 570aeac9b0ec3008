"""AdamW with states of 32 and of 8 bits: what they hold, that they train alike, and that a kill loses none of it."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from nlae.errors import NlaeError
from nlae.pipeline.hardware import prepare
from nlae.training import optimizer, resuming
from nlae.training.optimizer import adamw

needed = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs nlae[quantize]")
QUIET = pytest.mark.filterwarnings("ignore")  # bitsandbytes warns of other things than states at its import


def towards(target_OI: torch.Tensor, steps: int, bits: int) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    """A matrix that was moved towards another one."""
    weight = torch.nn.Parameter(torch.zeros_like(target_OI))
    made = adamw([weight], 1e-2, 0.0, bits=bits)
    for _ in range(steps):
        one_step(made, weight, target_OI)
    return weight, made


def one_step(made: torch.optim.Optimizer, weight: torch.nn.Parameter, target_OI: torch.Tensor) -> None:
    made.zero_grad()
    (weight - target_OI).square().sum().backward()
    made.step()


@pytest.fixture
def target_OI() -> torch.Tensor:
    return torch.randn(128, 64, generator=torch.Generator().manual_seed(0))


@needed
@QUIET
def test_eight_bits_train_as_thirty_two_do_and_take_a_quarter(target_OI):
    (small, light), (large, heavy) = (towards(target_OI, 60, bits) for bits in (8, 32))
    assert (small - large).abs().mean() < 0.05 * large.abs().mean()
    sizes = [
        sum(t.numel() * t.element_size() for t in made.state[weight].values() if torch.is_tensor(t) and t.numel() > 1)
        for made, weight in ((light, small), (heavy, large))
    ]
    assert sizes[0] < 0.3 * sizes[1] + 4096, "and two tables of 256 numbers"


@needed
@QUIET
def test_states_in_eight_bits_go_on_after_a_kill_as_if_there_had_been_none(target_OI, tmp_path):
    weight, made = towards(target_OI, 5, 8)
    resuming.save(tmp_path / "resume", {"w": weight.detach().clone()}, [made], {"update": 5})
    for _ in range(4):
        one_step(made, weight, target_OI)
    again = torch.nn.Parameter(resuming.load_weights(tmp_path / "resume")["w"])
    resumed = adamw([again], 1e-2, 0.0, bits=8)
    resuming.load_optimizers(tmp_path / "resume", [resumed])
    for _ in range(4):
        one_step(resumed, again, target_OI)
    assert torch.equal(again, weight)


def test_a_missing_package_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(optimizer, "PACKAGE", "bitsandbytes_that_is_not_there")
    with pytest.raises(NlaeError, match=r"optimizer_bits=8 needs .*nlae\[quantize\]"):
        prepare({"trainer": {"device": "cpu", "optimizer_bits": 8}})
    with pytest.raises(NlaeError, match="optimizer_bits=4: choose 32 or 8"):
        prepare({"trainer": {"device": "cpu", "optimizer_bits": 4}})


def test_an_objective_asks_for_the_states_it_was_given(fresh, warmstart, monkeypatch):
    asked = []
    monkeypatch.setattr("nlae.training.base.adamw", lambda *given, bits: asked.append(bits))
    module = warmstart(fresh(), 2, optimizer_bits=8)
    module.configure_model()
    module.configure_optimizers()
    assert asked == [8, 8]
