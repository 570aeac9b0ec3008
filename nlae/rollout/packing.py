"""A decoder for reading only: the same modules in a tree of its own, its linear maps merged and packed.

On x86 CPUs in float32 every adapted map becomes one matrix, W + αBA/r, in the layout that oneDNN multiplies few rows
with: two to three times the rate of the plain one at 32 rows, for a second copy of the weights. In any other type or
place the maps stay what they are: a merged bfloat16 matrix would round the adapter away.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from nlae.functional.linear import available, product


class PackedLinear(nn.Module):
    """x Wᵀ + b with a packed W.

    Args:
        weight_OI: the matrix, float32 on the CPU.
        bias_O: or None.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        super().__init__()
        self._packed: Any = torch.ops.mkldnn._reorder_linear_weight(weight_OI, None)
        self._bias_O = bias_O

    def forward(self, x_BI: Tensor) -> Tensor:
        """Shape (…, O)."""
        return product(x_BI, self._packed, self._bias_O)


def packable(module: nn.Module) -> bool:
    """Whether this linear map gains from packing, and loses nothing by merging."""
    base: Any = module.base_layer if isinstance(module, LoraLayer) else module
    if not isinstance(base, nn.Linear):
        return False
    return available() and base.weight.dtype is torch.float32 and base.weight.device.type == "cpu"


def pack(module: Any, role: str) -> PackedLinear:
    """The linear map as `role` runs it."""
    if not isinstance(module, LoraLayer):
        return PackedLinear(module.weight.detach(), module.bias)
    adapted: Any = module
    weight_OI = adapted.base_layer.weight.detach()
    if role in adapted.lora_A:
        weight_OI = weight_OI + adapted.get_delta_weight(role).detach()
    return PackedLinear(weight_OI, adapted.base_layer.bias)


def shell(module: nn.Module, role: str, *, packed: bool) -> Any:
    """A tree of new modules over the same weights, with packed maps where asked; setting it up changes nothing else."""
    if packed and packable(module):
        return pack(module, role)
    copied = copy.copy(module)
    # copy.copy shares the registries: a child set on the copy would appear in the original
    for registry in ("_modules", "_forward_hooks", "_forward_pre_hooks"):
        copied.__dict__[registry] = copy.copy(module.__dict__[registry])
    if not isinstance(module, LoraLayer):
        for name, child in module.named_children():
            copied._modules[name] = shell(child, role, packed=packed)
    return copied
