"""Putting a vector into the slot of a prompt.

`replace` is the paper's way; `add` is norm-matched addition (activation oracles); a learned affine map is a module and
lives with the verbalizer, which applies it before `replace`. Steering arbitrary positions is left out: a slot is one
position, the same in every row, because everything before it is a shared prefix.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
