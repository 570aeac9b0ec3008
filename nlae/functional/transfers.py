"""Numbers between host and device, so that neither waits for the other more often than it must.

What is sent goes in one piece and, to a GPU, from pinned memory, which the host does not stand by. What is read is read
together: each read waits for all that was launched before it. Tensors of rows (activations) are left to `Tensor.to`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Figures = Mapping[str, float | Tensor]


def send(device: torch.device, *parts: Tensor) -> list[Tensor]:
    """Whole numbers (int64 tensors of any shapes, on the host) on `device`; in one transfer."""
    if device.type == "cpu":
        return list(parts)
    flat = torch.cat([part.reshape(-1) for part in parts])
    if device.type == "cuda":
        flat = flat.pin_memory()
    moved = flat.to(device, non_blocking=True).split([part.numel() for part in parts])
    return [one.view(part.shape) for one, part in zip(moved, parts, strict=True)]


def read(figures: Figures) -> dict[str, float]:
    """Figures (numbers, or tensors of one) as numbers, in their order; one wait for all that lie on a device."""
    away = {name: one for name, one in figures.items() if isinstance(one, Tensor) and one.device.type != "cpu"}
    here = torch.stack([one.detach().double() for one in away.values()]).tolist() if away else []
    brought = dict(zip(away, here, strict=True))
    return {name: brought[name] if name in brought else float(one) for name, one in figures.items()}
