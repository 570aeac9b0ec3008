"""Modules whose linear maps run through oneDNN where torch's own would be slow.

GPT-2's transposed `Conv1D` is left to torch.
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

from nlae.functional.linear import available, linear

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class OneDnnLinear(nn.Linear):
    """An `nn.Linear` that multiplies by oneDNN where that is possible."""

    def forward(self, x_BI: Tensor) -> Tensor:
        """X Wᵀ + b."""
        return linear(x_BI, self.weight, self.bias)


def speed_up(model: ModuleT) -> ModuleT:
    """Let every plain `nn.Linear` of `model`, adapters included, multiply by oneDNN; weights and names stay.

    Returns:
        The same model, unchanged where the kernel is not available.
    """
    if available():
        for module in model.modules():
            if type(module) is nn.Linear:
                # the same object under another forward: what shares its weight or wraps it keeps doing so
                module.__class__ = OneDnnLinear
    return model
