"""Adapters that cost no more than they must.

peft brings what enters an adapter to float32, and autocast brings it back to bfloat16, once for each map: queries, keys
and values then each keep a copy of one input for the backward. It also multiplies the whole output by the scale.
Adapters on quantised maps are left to peft.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners import lora
from torch import Tensor, nn

from nlae.target.model import Target


class LeanLora(lora.Linear):
    """A map with adapters, of which none is merged and none drops out."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Base map plus scale · B A x of the active ones, in the base's type."""
        result: Tensor = self.base_layer(x, *args, **kwargs)
        for name in self.active_adapters:
            if name in self.lora_A:
                down: Any = self.lora_A[name]
                given = x if torch.is_autocast_enabled(x.device.type) else x.to(down.weight.dtype)
                # scaled while it is narrow
                result = result + self.lora_B[name](down(given) * self.scaling[name]).to(result.dtype)
        return result


def adaptable(target: Target, n_blocks: int) -> list[str]:
    """Dotted names of the adaptable linear maps of the first `n_blocks` blocks."""
    blocks = target.architecture.blocks(target.model)
    inside = {id(module) for block in blocks[:n_blocks] for module in block.modules()}
    wanted = tuple(f".{leaf}" for leaf in target.architecture.lora_modules)
    return [n for n, m in target.model.named_modules() if id(m) in inside and n.endswith(wanted)]


def lean(model: nn.Module) -> None:
    """Let every adapted plain map of `model` run so; weights and names stay."""
    for module in model.modules():
        if type(module) is lora.Linear:
            module.__class__ = LeanLora
