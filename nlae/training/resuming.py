"""What an update needs of the one before it, on disk: weights, optimizer states, and its number.

Safetensors and JSON, since a file that is loaded must not be able to run code; Lightning's own checkpoints are left
out. Learning rates and data order are left out too: both follow from the update's number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from nlae.files.foreign import parse_json

_WEIGHTS, _OPTIMIZERS, _COUNTS = "weights.safetensors", "optimizers.safetensors", "update.json"


def save(folder: Path, weights: Mapping[str, Tensor], optimizers: Sequence[Optimizer], counts: dict[str, int]) -> None:
    """Write `folder`, whole or not at all.

    Args:
        folder: replaced if it is there.
        weights: all that is trained.
        optimizers: in a fixed order.
        counts: `update` and whatever else goes on counting.
    """
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    save_file({name: weight.contiguous().cpu() for name, weight in weights.items()}, str(new / _WEIGHTS))
    save_file(_tensors(optimizers), str(new / _OPTIMIZERS))
    (new / _COUNTS).write_text(json.dumps(counts))
    if folder.exists():
        # only now: after a kill between the renames, `old` is the only whole one
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights that `save` wrote."""
    return load_file(str(folder / _WEIGHTS))


def load_counts(folder: Path) -> dict[str, int]:
    """The counts that `save` wrote."""
    counts: dict[str, int] = parse_json((folder / _COUNTS).read_text())
    return counts


def load_optimizers(folder: Path, optimizers: Sequence[Optimizer]) -> None:
    """Put the states that `save` wrote into these optimizers; their settings stay."""
    tensors = load_file(str(folder / _OPTIMIZERS))
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor | int]] = {}
        for key, value in tensors.items():
            which, index, name = key.split(".")
            if int(which) == i:
                state.setdefault(int(index), {})[name] = _plain(value)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def resume_folder(folder: Path) -> Path | None:
    """The newest whole resume folder in `folder`: `resume`, or `resume.old` if a kill fell between renames."""
    for name in ("resume", "resume.old"):
        if (folder / name / _COUNTS).exists():
            return folder / name
    return None


def resume_update(folder: Path) -> int:
    """The update to go on at; 0 when nothing was saved."""
    found = resume_folder(folder)
    return 0 if found is None else load_counts(found)["update"]


def _plain(state: Tensor) -> Tensor | int:
    """A counter that was a plain number is one again."""
    return int(state) if state.dtype is torch.int64 and not state.shape else state


def _tensors(optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """States by `optimizer.parameter.name`; the settings are the schedule's, and need not be kept."""
    return {
        f"{i}.{index}.{name}": torch.as_tensor(value).contiguous().cpu()
        for i, optimizer in enumerate(optimizers)
        for index, weight in enumerate(p for group in optimizer.param_groups for p in group["params"])
        for name, value in optimizer.state.get(weight, {}).items()
    }
