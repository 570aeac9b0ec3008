"""Neurons from MLP inputs: the block's own MLP is run again on inputs that a scan has kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlae.target import Target


@torch.no_grad()
def neurons_of(target: Target, layer: int, inputs_MD: Tensor, batch: int = 2048) -> Tensor:
    """What enters the down-projection of one block when its MLP reads given inputs.

    Args:
        target: the model; its type and device are used.
        layer: block index.
        inputs_MD: inputs of the block's MLP, raw.
        batch: rows at once.

    Returns:
        float32 [M, N], on the CPU.
    """
    architecture = target.architecture
    mlp = architecture.mlp(architecture.blocks(target.model)[layer])
    down, _ = architecture.hooked(target.model, "mlp_neurons", layer)
    found: list[Tensor] = []

    def seen(_module: Any, args: Any) -> None:
        found.append(args[0].flatten(0, -2).float().cpu())

    handle = down.register_forward_pre_hook(seen)
    try:
        for rows_mD in inputs_MD.split(batch):
            mlp(rows_mD[None].to(target.device, target.dtype))
    finally:
        handle.remove()
    return torch.cat(found)
