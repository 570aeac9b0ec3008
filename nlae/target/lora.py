"""Adapters that cost no more than they must.

peft brings what enters an adapter to float32, and autocast brings it back to bfloat16, once for each map: queries, keys
and values then each keep a copy of one input for the backward. It also multiplies the whole output by the scale.
Adapters on quantised maps are left to peft.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import Any

import torch
from peft.tuners import lora
from torch import Tensor, nn

from nlae.target.architecture import WEIGHTED
from nlae.target.model import Target

logger = logging.getLogger(__name__)
# parts of names: experts, and what says which of them reads a token
ROUTING = re.compile(r"\.(experts|router|gate|shared_expert_gate)(\.|$)")
READ_PAST = ("out_proj", "dt_proj")


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
    """Dotted names of the adaptable linear maps of the first `n_blocks` blocks, which need not be alike.

    Routers and experts stay as they are: who reads a token is the target's choice, and an expert is read by few. So do
    the maps of a state-space mixer whose weights its fused kernels read themselves, past any adapter.
    """
    blocks = target.architecture.blocks(target.model)[:n_blocks]
    inside = {id(module) for block in blocks for module in block.modules()}
    found, left = [], set()
    names = {name: module for name, module in target.model.named_modules() if id(module) in inside}
    for name, module in names.items():
        if ".lora_" in name or not isinstance(getattr(module, "base_layer", module), WEIGHTED):
            continue
        name = name.removesuffix(".base_layer")
        if name in found:
            continue
        parent = names.get(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        if ROUTING.search(name) or (leaf in READ_PAST and hasattr(parent, "A_log") and hasattr(parent, "D")):
            left.add(leaf)
        else:
            found.append(name)
    experts = any(ROUTING.search(name) for name in names)
    if left or experts:
        said = ", ".join(sorted(left)) or "none among the plain maps"
        _say(f"target {target.source_name}: routers, experts and what fused kernels read take no adapter ({said})")
    return found


@functools.cache
def _say(line: str) -> None:
    """Once for a process, however many roles take adapters."""
    logger.info("%s", line)


def lean(model: nn.Module) -> None:
    """Let every adapted plain map of `model` run so; weights and names stay."""
    for module in model.modules():
        if type(module) is lora.Linear:
            module.__class__ = LeanLora
