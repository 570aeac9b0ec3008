"""Where a killed fit goes on: Lightning's own checkpoint, in the folder `resume` of its stage.

It holds the trained weights, the optimizers' states and the update (`Learner.on_save_checkpoint`), tensors and plain
values alone, so that it is loaded with `weights_only`. Data order, samples and learning rates follow from the update.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

NAME = "last.ckpt"


def checkpoint_in(folder: Path) -> Path | None:
    """What the fit of this stage can go on from; None where nothing was saved."""
    path = folder / "resume" / NAME
    return path if path.is_file() else None


def load(path: Path) -> dict[str, Any]:
    """The checkpoint, memory-mapped; nothing in it can run."""
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # noqa: TID251
    return found


def resume_update(folder: Path) -> int:
    """The update to go on at; 0 when nothing was saved."""
    found = checkpoint_in(folder)
    return 0 if found is None else int(load(found)["counts"]["update"])
