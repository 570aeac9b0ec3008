"""A decoder for reading only: the same modules in a tree of its own, its linear maps merged and packed.

On x86 CPUs in float32 every adapted map becomes one matrix, W + αBA/r, in the layout that oneDNN multiplies few rows
with: two to three times the rate of the plain one at 32 rows, for a second copy of the weights. In any other type or
place the maps stay what they are: a merged bfloat16 matrix would round the adapter away. Maps of one module that read
the same input (queries, keys and values; gate and up) become one product: few rows are multiplied at the speed at which
weights are read, and one long read is a tenth faster than three.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from nlae.functional.linear import available, product

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # by their usual names; others stay apart


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


class _Siblings:
    """One product for maps that read the same input; the first to be asked computes it for all."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> None:
        self._widths = [len(weight_OI) for weight_OI in weights]
        pairs = list(zip(weights, biases, strict=True))
        bias_O = None
        if any(bias is not None for bias in biases):
            bias_O = torch.cat([weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in pairs])
        self._map = PackedLinear(torch.cat(list(weights)), bias_O)
        self._input: Tensor | None = None
        self._parts: list[Tensor | None] = []

    def part(self, x_BI: Tensor, number: int) -> Tensor:
        """What map `number` makes of this input. Each part is handed out once, so that none outlives its use."""
        if x_BI is not self._input or self._parts[number] is None:
            self._input, self._parts = x_BI, list(self._map(x_BI).split(self._widths, -1))
        part = self._parts[number]
        assert part is not None
        self._parts[number] = None
        if all(other is None for other in self._parts):
            self._input = None
        return part


class PackedSibling(nn.Module):
    """One of several linear maps that read the same input.

    Args:
        siblings: what computes them together.
        number: which of them this is.
    """

    def __init__(self, siblings: _Siblings, number: int) -> None:
        super().__init__()
        self._siblings, self._number = siblings, number

    def forward(self, x_BI: Tensor) -> Tensor:
        """Shape (…, O)."""
        return self._siblings.part(x_BI, self._number)


def packable(module: nn.Module) -> bool:
    """Whether this linear map gains from packing, and loses nothing by merging."""
    base: Any = module.base_layer if isinstance(module, LoraLayer) else module
    if not isinstance(base, nn.Linear):
        return False
    return available() and base.weight.dtype is torch.float32 and base.weight.device.type == "cpu"


def merged(module: Any, role: str) -> tuple[Tensor, Tensor | None]:
    """Matrix and bias of the linear map as `role` runs it."""
    if not isinstance(module, LoraLayer):
        return module.weight.detach(), module.bias
    adapted: Any = module
    weight_OI = adapted.base_layer.weight.detach()
    if role in adapted.lora_A:
        weight_OI = weight_OI + adapted.get_delta_weight(role).detach()
    return weight_OI, adapted.base_layer.bias


def shell(module: nn.Module, role: str, *, packed: bool) -> Any:
    """A tree of new modules over the same weights, with packed maps where asked; setting it up changes nothing else."""
    if packed and packable(module):
        return PackedLinear(*merged(module, role))
    copied = copy.copy(module)
    # copy.copy shares the registries: a child set on the copy would appear in the original
    for registry in ("_modules", "_forward_hooks", "_forward_pre_hooks"):
        copied.__dict__[registry] = copy.copy(module.__dict__[registry])
    if isinstance(module, LoraLayer):
        return copied
    together = _together(module, role) if packed else {}
    for name, child in module.named_children():
        made = copied._modules[name] = together.get(name) or shell(child, role, packed=packed)
        if isinstance(made, PackedLinear | PackedSibling):
            # found before the registry, and called without a module's ceremony: tens of thousands of times a rollout
            copied.__dict__[name] = made.forward
    return copied


def _together(module: nn.Module, role: str) -> dict[str, PackedSibling]:
    """The maps of this module that one product computes, by name."""
    children = dict(module.named_children())
    found: dict[str, PackedSibling] = {}
    for names in SIBLINGS:
        if all(name in children and packable(children[name]) for name in names):
            weights, biases = zip(*(merged(children[name], role) for name in names), strict=True)
            siblings = _Siblings(weights, biases)
            found |= {name: PackedSibling(siblings, number) for number, name in enumerate(names)}
    return found
