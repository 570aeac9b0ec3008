"""AdamW with states of 32 or 8 bits.

8 bits (bitsandbytes, block by block) are for training whole weights, whose states would be twice as large as they are;
of an adapter they save next to nothing. Other optimizers are left out: nothing here was tuned for them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nlae.errors import NlaeError

BETAS = (0.9, 0.98)
BITS = (32, 8)
PACKAGE = "bitsandbytes"


def check_bits(bits: int) -> None:
    """Raises: NlaeError, when there are no such states, or the package for them is missing."""
    if bits not in BITS:
        raise NlaeError(f"trainer.optimizer_bits={bits}: choose 32 or 8")
    if bits == 8 and importlib.util.find_spec(PACKAGE) is None:
        raise NlaeError(f"trainer.optimizer_bits=8 needs {PACKAGE}: pip install 'nlae[quantize]', or set it to 32")


def adamw(parameters: Sequence[nn.Parameter], lr: float, weight_decay: float, *, bits: int) -> torch.optim.Optimizer:
    """The optimizer of one role; fused kernels on a GPU.

    Args:
        parameters: all on one device.
        lr: peak learning rate.
        weight_decay: decoupled.
        bits: of the two moments of every weight; matrices of fewer than 4096 entries keep 32.

    Raises:
        NlaeError: `bits` that cannot be had.
    """
    check_bits(bits)
    settings: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "betas": BETAS}
    if bits == 8:
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(parameters, **settings)
    return torch.optim.AdamW(parameters, **settings, fused=any(p.device.type == "cuda" for p in parameters))
