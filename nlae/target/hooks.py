"""Reading and replacing activations at a site with forward hooks.

Only for whole forward passes over known positions; injection into a verbalizer, which must happen once and before
decoding starts, is another matter and lives elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nlae.target.architecture import Architecture
from nlae.target.site import Site


@dataclass
class Captured:
    """What a hook saw, one entry per forward pass, oldest first."""

    values: list[Tensor] = field(default_factory=list)

    @property
    def value(self) -> Tensor:
        """The last activation seen, shape (B, T, width)."""
        return self.values[-1]


def first(output: Any) -> Tensor:
    """The hidden states of a module's output, which older models put first in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


@contextmanager
def capture(model: nn.Module, site: Site) -> Iterator[Captured]:
    """Record the activation at a resolved `site` during every forward pass inside the block.

    Gradients are kept: detach what you store.
    """
    seen = Captured()
    module, side = Architecture.of(model).hooked(model, site.kind, site.index)
    if side == "input":
        handle = module.register_forward_pre_hook(lambda _module, args: seen.values.append(args[0]))
    else:
        handle = module.register_forward_hook(lambda _module, _args, output: seen.values.append(first(output)))
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def splice(model: nn.Module, site: Site, activation_ND: Tensor, where_BT: Tensor) -> Iterator[None]:
    """Replace the activation at a resolved `site` where the mask is true, in reading order.

    Args:
        model: A causal LM or its decoder.
        site: The place to write to.
        activation_ND: One raw vector for each true entry of the mask.
        where_BT: Boolean mask over the batch's positions.
    """
    where_BT = where_BT.bool()
    if int(where_BT.sum()) != activation_ND.shape[0]:
        raise ValueError(f"{activation_ND.shape[0]} vectors for {int(where_BT.sum())} positions")
    module, side = Architecture.of(model).hooked(model, site.kind, site.index)

    def write(hidden_BTD: Tensor) -> Tensor:
        if hidden_BTD.shape[:2] != where_BT.shape:
            raise ValueError(f"mask of shape {tuple(where_BT.shape)} for activations {tuple(hidden_BTD.shape[:2])}")
        index = where_BT.to(hidden_BTD.device).unsqueeze(-1).expand_as(hidden_BTD)
        return torch.masked_scatter(hidden_BTD, index, activation_ND.to(hidden_BTD))

    def on_output(_module: nn.Module, _args: Any, output: Any) -> Any:
        return (write(output[0]), *output[1:]) if isinstance(output, tuple) else write(output)

    if side == "input":
        handle = module.register_forward_pre_hook(lambda _module, args: (write(args[0]), *args[1:]))
    else:
        handle = module.register_forward_hook(on_output)
    try:
        yield
    finally:
        handle.remove()
