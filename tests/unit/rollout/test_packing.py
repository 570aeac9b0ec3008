"""Packed maps in bfloat16: adapters stay apart, and are as exact as in training.

Where this machine cannot multiply bfloat16 by oneDNN, torch's own product stands in for the kernel; what is put
together, added and split is the same.
"""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn import functional as F

from nlae.functional.linear import available
from nlae.rollout import LocalRollout, packing
from nlae.rollout.packing import PackedLinear, PackedSibling, shell
from nlae.target.lora import LeanLora, lean

BF16 = torch.bfloat16
ROLE = "verbalizer"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    if not available(BF16):
        monkeypatch.setattr(packing, "available", lambda dtype: True)
        monkeypatch.setattr(packing, "pack", torch.Tensor.clone)
        monkeypatch.setattr(packing, "product", F.linear)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for number, name in enumerate(("q_proj", "k_proj", "v_proj", "o_proj")):
            self.add_module(name, nn.Linear(64, 32 + 16 * number, bias=number == 1))


def adapted(size: float, where: tuple[str, ...] = ("q_proj", "v_proj", "o_proj")) -> Block:
    """A bfloat16 block whose adapters, in float32, add `size` times what the maps give; `k_proj` has none."""
    torch.manual_seed(0)
    block = Block().to(BF16)
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=8, target_modules=list(where)), block, adapter_name=ROLE)
    lean(block)
    for module in block.modules():
        if isinstance(module, LeanLora):
            module.lora_A[ROLE].float()
            nn.init.normal_(module.lora_B[ROLE].float().weight, std=size)
    return block.requires_grad_(False)


def exact(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the map and what its adapter make of x, float64."""
    base = module.base_layer if isinstance(module, LeanLora) else module
    plain = F.linear(x.double(), base.weight.double(), None if base.bias is None else base.bias.double())
    if not isinstance(module, LeanLora):
        return plain, torch.zeros_like(plain)
    low = F.linear(x.double(), module.lora_A[ROLE].weight.double())
    return plain, F.linear(low, module.lora_B[ROLE].weight.double()) * module.scaling[ROLE]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("size", [1e-3, 0.3])
def test_packed_maps_are_as_exact_as_training_is(size):
    block = adapted(size)
    packed = dict(shell(block, ROLE, dtype=BF16).named_children())
    assert [type(module) for module in packed.values()] == [PackedSibling] * 3 + [PackedLinear]
    x_BI = torch.randn(5, 3, 64).to(BF16)
    for name, module in block.named_children():
        plain, added = exact(module, x_BI)
        with torch.autocast("cpu", BF16):
            trained, found = module(x_BI), packed[name](x_BI)
        assert found.dtype is BF16
        assert found.shape == trained.shape
        error, allowed = (found - (plain + added)).square().mean(), (trained - (plain + added)).square().mean()
        assert error <= 1.2 * allowed + 1e-12, name


@pytest.mark.usefixtures("kernel")
def test_float32_weights_under_autocast_are_packed_as_they_are_multiplied():
    block = adapted(0.1).float()
    packed = dict(shell(block, ROLE, dtype=BF16).named_children())
    x_BI = torch.randn(4, 64)
    for name, module in block.named_children():
        with torch.autocast("cpu", BF16):
            torch.testing.assert_close(packed[name](x_BI), module(x_BI), rtol=0.02, atol=0.02)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("precision", ["bf16-base", "bf16-mixed"])
def test_the_engine_samples_what_training_multiplies(make_pair, activations, precision, monkeypatch):
    pair = make_pair("llama", precision=precision)
    with torch.no_grad():
        for n, weight in enumerate(pair.backbone.parameters_of(ROLE)):
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(n)))
    made, build = [], PackedLinear.__init__
    monkeypatch.setattr(PackedLinear, "__init__", lambda self, *terms: made.append(terms[0]) or build(self, *terms))
    gaps = {}
    seeds = list(range(12))
    for engine in (LocalRollout(packed=False), LocalRollout()):
        said = engine(pair.at().verbalizer, activations, seeds)
        logp_BT = pair.at().verbalizer.logprobs(activations, said.token_BT).detach()
        gaps[engine.packed] = float(((logp_BT - said.logp_BT).abs() * said.mask_BT).sum() / said.mask_BT.sum())
    assert any(terms.down_RI is not None for terms in made), "otherwise this tests nothing"
    # plain maps round where training's do, packed ones once and elsewhere
    assert gaps[True] < 1.7 * gaps[False]
    assert gaps[True] < 0.02


def test_what_this_machine_cannot_multiply_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(packing, "available", lambda dtype: False)
    block = adapted(0.1)
    assert [type(module) for module in shell(block, ROLE, dtype=BF16).children()] == [
        type(module) for module in block.children()
    ]
