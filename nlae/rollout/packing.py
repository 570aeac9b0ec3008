"""A decoder for reading only: the same modules in a tree of its own, its linear maps packed.

On x86 CPUs every map lies in the layout that oneDNN multiplies few rows with: in float32 two to three times the rate of
the plain one at 32 rows, for a second copy of the weights. In float32 an adapter is merged into its map, W + αBA/r. A
merged bfloat16 matrix would round the adapter away: there B lies beside W in one matrix, which reads A's answer beside
the input, as exact as training has it. Maps of one module that read the same input (queries, keys and values; gate and
up) become one product: few rows are multiplied at the speed at which weights are read, and one long read is a tenth
faster than three. In any other type or place the maps stay what they are.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from nlae.functional.linear import available, pack, product

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # by their usual names; others stay apart


@dataclasses.dataclass(frozen=True)
class Terms:
    """x Wᵀ + b + (x Aᵀ) Bᵀ: a linear map as one role runs it, all in the type that it is computed in.

    Attributes:
        weight_OI: W; in float32 with the adapter merged.
        bias_O: b, or None.
        down_RI: A, or None where nothing is kept apart.
        up_OR: B times the adapter's scale, or None.
    """

    weight_OI: Tensor
    bias_O: Tensor | None
    down_RI: Tensor | None = None
    up_OR: Tensor | None = None

    @classmethod
    def of(cls, module: Any, role: str, dtype: torch.dtype) -> Terms:
        """Those of a linear map, adapted or not."""
        base: Any = module.base_layer if isinstance(module, LoraLayer) else module
        weight_OI = base.weight.detach()
        bias_O = None if base.bias is None else base.bias.detach().to(dtype)
        if base is module or role not in module.lora_A:
            return cls(weight_OI.to(dtype), bias_O)
        if dtype is torch.float32:
            return cls(weight_OI + module.get_delta_weight(role).detach(), bias_O)
        down_RI, up_OR = module.lora_A[role].weight.detach(), module.lora_B[role].weight.detach()
        return cls(weight_OI.to(dtype), bias_O, down_RI.to(dtype), (up_OR * module.scaling[role]).to(dtype))


class PackedLinear(nn.Module):
    """Linear maps of one input, packed into one; their results lie side by side.

    Args:
        terms: of each map, all of one type, which what enters is brought to (as autocast would).
    """

    def __init__(self, *terms: Terms) -> None:
        super().__init__()
        self._dtype = terms[0].weight_OI.dtype
        weight_OI = torch.cat([one.weight_OI for one in terms])
        downs = [one.down_RI for one in terms if one.down_RI is not None]
        self._down: Tensor | None = None
        if downs:
            ups = [one.weight_OI.new_zeros(len(one.weight_OI), 0) if one.up_OR is None else one.up_OR for one in terms]
            self._down = pack(torch.cat(downs))
            weight_OI = torch.cat([weight_OI, torch.block_diag(*ups)], 1)
        self._packed = pack(weight_OI)
        self._bias_O: Tensor | None = None
        if any(one.bias_O is not None for one in terms):
            self._bias_O = torch.cat(
                [one.weight_OI.new_zeros(len(one.weight_OI)) if one.bias_O is None else one.bias_O for one in terms]
            )

    def forward(self, x_BI: Tensor) -> Tensor:
        """Shape (…, O)."""
        x_BI = x_BI.to(self._dtype)
        if self._down is not None:
            x_BI = torch.cat([x_BI, product(x_BI, self._down)], -1)
        return product(x_BI, self._packed, self._bias_O)


class _Siblings:
    """One product for maps that read the same input; the first to be asked computes it for all."""

    def __init__(self, terms: Sequence[Terms]) -> None:
        self._widths = [len(one.weight_OI) for one in terms]
        self._map = PackedLinear(*terms)
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


def packable(module: nn.Module, dtype: torch.dtype) -> bool:
    """Whether this linear map gains from packing when it is computed in `dtype`, and loses nothing by it."""
    base: Any = module.base_layer if isinstance(module, LoraLayer) else module
    if not isinstance(base, nn.Linear) or base.weight.device.type != "cpu":
        return False
    # quantised maps are linear by class, and hold whole numbers
    return available(dtype) and base.weight.dtype in (dtype, torch.float32)


def shell(module: nn.Module, role: str, *, dtype: torch.dtype | None) -> Any:
    """A tree of new modules over the same weights; setting it up changes nothing else.

    Args:
        module: what is read with.
        role: whose adapters.
        dtype: the type that linear maps are computed in, to pack them; None leaves them as they are.
    """
    if dtype is not None and packable(module, dtype):
        return PackedLinear(Terms.of(module, role, dtype))
    copied = copy.copy(module)
    # copy.copy shares the registries: a child set on the copy would appear in the original
    for registry in ("_modules", "_forward_hooks", "_forward_pre_hooks"):
        copied.__dict__[registry] = copy.copy(module.__dict__[registry])
    if isinstance(module, LoraLayer):
        return copied
    together = _together(module, role, dtype) if dtype is not None else {}
    for name, child in module.named_children():
        made = copied._modules[name] = together.get(name) or shell(child, role, dtype=dtype)
        if isinstance(made, PackedLinear | PackedSibling):
            # found before the registry, and called without a module's ceremony: tens of thousands of times a rollout
            copied.__dict__[name] = made.forward
    return copied


def _together(module: nn.Module, role: str, dtype: torch.dtype) -> dict[str, PackedSibling]:
    """The maps of this module that one product computes, by name."""
    children = dict(module.named_children())
    found: dict[str, PackedSibling] = {}
    for names in SIBLINGS:
        if all(name in children and packable(children[name], dtype) for name in names):
            siblings = _Siblings([Terms.of(children[name], role, dtype) for name in names])
            found |= {name: PackedSibling(siblings, number) for number, name in enumerate(names)}
    return found
