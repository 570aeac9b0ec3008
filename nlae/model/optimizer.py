"""The optimizer of one role, from the config's partial of any torch optimizer.

States of 8 bits (bitsandbytes, block by block) are for training whole weights, whose states would be twice as large as
they are; of an adapter they save next to nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from nlae.errors import NlaeError

Make = Callable[..., torch.optim.Optimizer]
ADAMW = partial(torch.optim.AdamW, betas=(0.9, 0.98))


def optimizer_of(
    make: Make, parameters: Sequence[nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer of one role; fused kernels on a GPU, where the class has them and nothing else is asked for.

    Args:
        make: an optimizer's class, or a partial of it.
        parameters: all on one device.
        lr: peak learning rate.
        weight_decay: decoupled.

    Raises:
        NlaeError: the class takes other arguments.
    """
    plain = make.func if isinstance(make, partial) else make
    known = inspect.signature(plain).parameters
    given: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
    if "fused" in known and "foreach" not in getattr(make, "keywords", {}):
        given["fused"] = any(p.device.type == "cuda" for p in parameters)
    try:
        return make(parameters, **{**given, **getattr(make, "keywords", {})})
    except (TypeError, ValueError) as error:
        raise NlaeError(f"optimizer: {getattr(plain, '__name__', plain)} refuses these values ({error})") from error
