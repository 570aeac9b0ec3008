"""Putting a vector into the slot of a prompt.

`replace` is the paper's way; `add` is norm-matched addition (activation oracles); a learned map is a module that starts
here and lives with the verbalizer, which applies it before `replace`. Steering arbitrary positions is left out: a slot
is one position, the same in every row, because everything before it is a shared prefix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nlae.functional.scaling import unit

MODES = ("replace", "add", "affine")


def to_scale(vector_BD: Tensor, scale: float) -> Tensor:
    """Directions of `vector_BD` at the norm `scale`, float32."""
    return unit(vector_BD) * scale


def inject(hidden_BTD: Tensor, vector_BD: Tensor, slot: int, mode: str) -> Tensor:
    """`hidden_BTD` with `vector_BD` put at position `slot`; out of place, in the stream's dtype.

    Args:
        hidden_BTD: the stream (embeddings or a block's output).
        vector_BD: one vector a row, already at its scale.
        slot: position of the slot, the same in every row.
        mode: `replace` or `affine`: h' = v; `add`: h' = h + ‖h‖·v/‖v‖.

    Raises:
        ValueError: an unknown mode, or shapes that do not fit.
    """
    if mode not in MODES:
        raise ValueError(f"injection mode {mode!r} is none of {', '.join(MODES)}")
    batch, length, width = hidden_BTD.shape
    if vector_BD.shape != (batch, width) or not 0 <= slot < length:
        raise ValueError(
            f"cannot inject {tuple(vector_BD.shape)} at slot {slot} of a stream of shape {tuple(hidden_BTD.shape)}"
        )
    if mode == "add":
        here_BD = hidden_BTD[:, slot].float()
        vector_BD = here_BD + here_BD.norm(dim=-1, keepdim=True) * unit(vector_BD)
    middle = vector_BD.to(hidden_BTD.dtype).unsqueeze(1)
    return torch.cat([hidden_BTD[:, :slot], middle, hidden_BTD[:, slot + 1 :]], dim=1)


class Writer:
    """Injects at slot 0 and counts how often: a silent miss reads as fluent text about nothing.

    Args:
        vector_BD: as in `inject`.
        mode: as in `inject`.
    """

    def __init__(self, vector_BD: Tensor, mode: str) -> None:
        self.vector_BD, self.mode, self.calls = vector_BD, mode, 0

    def __call__(self, hidden_BTD: Tensor) -> Tensor:
        """The stream with the vector in it."""
        self.calls += 1
        return inject(hidden_BTD, self.vector_BD, slot=0, mode=self.mode)


def untouched(hidden_BTD: Tensor) -> Tensor:
    """The stream as it is: what stands in for a `Writer` where nothing is injected."""
    return hidden_BTD


def identity_map(width: int) -> nn.Linear:
    """An affine map that changes nothing yet."""
    made = nn.Linear(width, width)
    with torch.no_grad():
        made.weight.copy_(torch.eye(width))
        made.bias.zero_()
    return made


def linear_map(weight_OI: Tensor) -> nn.Linear:
    """A linear map that starts as this matrix."""
    made = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=False)
    with torch.no_grad():
        made.weight.copy_(weight_OI)
    return made
