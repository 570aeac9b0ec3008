"""Lean adapters against peft's own: values, gradients, and what is kept for the backward."""

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners import lora
from torch import nn
from transformers.pytorch_utils import Conv1D

from nlae.target.lora import LeanLora, lean

ROLES = ("verbalizer", "reconstructor")


def adapted(kind: str = "linear") -> nn.Module:
    """Two maps with two adapters each, as peft makes them, all weights moved away from their start."""
    torch.manual_seed(0)
    maps = (
        {"a": Conv1D(6, 8), "b": Conv1D(5, 8)} if kind == "transposed" else {"a": nn.Linear(8, 6), "b": nn.Linear(8, 5)}
    )
    model = nn.Module()
    for name, part in maps.items():
        model.add_module(name, part)
    for number, role in enumerate(ROLES):
        config = LoraConfig(r=2 + number, lora_alpha=5, target_modules=["a", "b"], fan_in_fan_out=kind == "transposed")
        inject_adapter_in_model(config, model, adapter_name=role)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape))
    return model


def activate(model: nn.Module, roles: list[str]) -> None:
    for part in model.children():
        part._active_adapter = roles
        part.requires_grad_(True)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
@pytest.mark.parametrize("kind", ["linear", "transposed"])
@pytest.mark.parametrize("roles", [[], ["verbalizer"], ["reconstructor"]])
def test_equals_peft_forward_and_backward(kind, roles):
    plain = adapted(kind).double()
    fast = copy.deepcopy(plain)
    lean(fast)
    assert all(isinstance(part, LeanLora) for part in fast.children())
    assert not any(isinstance(part, LeanLora) for part in plain.children())
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    inputs = x.clone().requires_grad_(), x.clone().requires_grad_()
    for model, given in zip((plain, fast), inputs, strict=True):
        activate(model, roles)
        (model.a(given).square().sum() + model.b(given).cos().sum()).backward()
    torch.testing.assert_close(fast.a(x), plain.a(x))
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad)


def kept_bytes(model: nn.Module, x: torch.Tensor) -> int:
    """Bytes that the backward of all maps on one input keeps, its weights left aside."""
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights and tensor.shape[0] == len(x):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autocast("cpu", torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = [part(x) for part in model.children()]
        sizes = sum(kept.values())
    assert all(out.dtype is torch.bfloat16 for out in outputs)
    return sizes


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_maps_of_one_bf16_input_keep_it_once():
    plain = adapted()
    activate(plain, ["verbalizer"])
    for part in plain.children():
        part.base_layer.to(torch.bfloat16).requires_grad_(False)
    fast = copy.deepcopy(plain)
    lean(fast)
    x = torch.randn(64, 8, dtype=torch.bfloat16)
    assert kept_bytes(plain, x) >= 2 * x.nbytes, "peft keeps a copy for each"
    narrow = 2 * 2 * 64 * 2  # B's inputs: two maps, rank 2, bf16
    assert kept_bytes(fast, x) <= x.nbytes + 2 * narrow
    assert type(plain.a) is lora.Linear
