"""AdamW with states of 32 and of 8 bits: what they hold, that they train alike, and that a kill loses none of it."""

from __future__ import annotations

import importlib.util
from functools import partial

import pytest
import torch

from nlae.config.build import build
from nlae.config.compose import compose_plain
from nlae.errors import NlaeError
from nlae.model.optimizer import ADAMW, Make, optimizer_of
from nlae.training import resuming

needed = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs nlae[quantize]")
QUIET = pytest.mark.filterwarnings("ignore")  # bitsandbytes warns of other things than states at its import


def of(bits: int) -> Make:
    if bits == 32:
        return ADAMW
    from bitsandbytes.optim import AdamW8bit

    return partial(AdamW8bit, betas=(0.9, 0.98))


def towards(target_OI: torch.Tensor, steps: int, bits: int) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    """A matrix that was moved towards another one."""
    weight = torch.nn.Parameter(torch.zeros_like(target_OI))
    made = optimizer_of(of(bits), [weight], 1e-2, 0.0)
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
    torch.save({"w": weight.detach().clone(), "state": made.state_dict()}, tmp_path / "kept.ckpt")
    for _ in range(4):
        one_step(made, weight, target_OI)
    kept = resuming.load(tmp_path / "kept.ckpt")
    again = torch.nn.Parameter(kept["w"])
    resumed = optimizer_of(of(8), [again], 1e-2, 0.0)
    resumed.load_state_dict(kept["state"])
    for _ in range(4):
        one_step(resumed, again, target_OI)
    assert torch.equal(again, weight)


def test_a_missing_package_is_named_before_anything_is_loaded(monkeypatch):
    node = compose_plain(["target=tiny", "optimizer=adamw_8bit"]).config["optimizer"]
    assert node["_target_"].startswith("bitsandbytes.")
    with pytest.raises(NlaeError, match="bitsandbytes_that_is_not_there"):
        build({**node, "_target_": "bitsandbytes_that_is_not_there.AdamW8bit"}, "optimizer")


def test_a_half_makes_the_optimizer_it_was_given(fresh, half):
    module = half("verbalizer", fresh(), 2, optimizer=partial(torch.optim.SGD, momentum=0.5))
    (made,) = module.configure_optimizers()
    assert type(made) is torch.optim.SGD
    assert (made.defaults["momentum"], made.defaults["lr"]) == (0.5, module.lr)
    with pytest.raises(NlaeError, match="optimizer: SGD refuses these values .*momentun"):
        optimizer_of(partial(torch.optim.SGD, momentun=0.5), module.trainable(), 1e-3, 0.0)
