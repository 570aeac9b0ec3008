"""What a scan leaves on disk while it runs, and how that becomes the finished folder.

Each window with panel rows leaves one part; every few windows the streams leave a state. Both appear whole or not at
all, and a state is only written after the parts before it, so that a killed scan goes on from the last state and ends
with the same bytes. Float16 never overflows: every part has a power of two per layer that brings its largest value
below 2¹⁵, and so has every finished file, so that rescaling loses nothing but what float16 cannot tell from 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlae.dictionary.scan.exemplars import Streams
from nlae.dictionary.scan.folder import ROLES, layer_file, panel_file
from nlae.dictionary.scan.windows import Window
from nlae.errors import NlaeError
from nlae.files.arrow import replacing
from nlae.files.foreign import parse_json

RESUME = "resume"  # a folder of this name is no part of a finished artifact
_STATE = "state.safetensors"
_LEAST_EXPONENT = -100  # powers of two below are no normal float32


def power_scale(values: Tensor) -> Tensor:
    """Power of two, float32 (), that brings |values| / scale below 2¹⁵."""
    _, exponent = torch.frexp(values.abs().amax().float())
    return torch.ldexp(torch.ones((), device=values.device), exponent.clamp_min(_LEAST_EXPONENT) - 15)


def shrunk(values: Tensor) -> tuple[Tensor, Tensor]:
    """`values` as float16, and the scale they were divided by."""
    scale = power_scale(values)
    return (values.float() / scale).half(), scale


def part_path(folder: Path, number: int) -> Path:
    """The part of one window."""
    return folder / RESUME / f"part-{number:05d}.safetensors"


def write_part(folder: Path, number: int, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Write the panel rows of one window.

    Args:
        folder: of the scan.
        number: of the window.
        layers: MLP inputs, float16 [m, d_model], and scale of each layer.

    Raises:
        NlaeError: a value is not finite.
    """
    inputs_LmD = torch.stack([rows_mD for rows_mD, _ in layers]).cpu()
    finite_L = torch.isfinite(inputs_LmD).all(-1).all(-1)
    if not finite_L.all():
        raise _not_finite(int((~finite_L).nonzero()[0]))
    scale_L = torch.stack([scale for _, scale in layers]).cpu()
    with replacing(part_path(folder, number)) as temporary:
        save_file({"inputs": inputs_LmD, "scale": scale_L}, temporary)


def write_state(folder: Path, streams: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write the streams, with what is needed to know where they stand.

    Raises:
        NlaeError: an activation was not finite.
    """
    finite_L = torch.isfinite(streams["power"]).all(-1).all(-1)
    if not finite_L.all():
        raise _not_finite(int((~finite_L).nonzero()[0]))
    with replacing(folder / RESUME / _STATE) as temporary:
        save_file(dict(streams), temporary, metadata={"facts": json.dumps(facts, sort_keys=True)})


def read_state(folder: Path, digest: str, windows: Sequence[Window], streams: Streams) -> int:
    """Fill `streams` from the last state that belongs to `digest`.

    Returns:
        The first window that is still to be read; 0 where there is no such state, or a part before it is gone.
    """
    path = folder / RESUME / _STATE
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        facts = parse_json(file.metadata()["facts"])
    done = int(facts["done"])
    parts = [part_path(folder, number) for number in range(done) if len(windows[number].rows)]
    if facts["digest"] != digest or not all(part.is_file() for part in parts):
        return 0
    for name, tensor in load_file(path).items():
        streams.tensors[name].copy_(tensor)
    streams.n = int(facts["n"])
    return done


def finish(folder: Path, windows: Sequence[Window], rows: Mapping[str, int], streams: Streams) -> None:
    """Write the files of all layers from the streams and the parts."""
    kept = {name: tensor.cpu() for name, tensor in streams.tensors.items()}
    for layer in range(len(kept["threshold"])):
        _write_layer(folder, layer, kept, streams.n)
        for role in ROLES:
            _write_panel(folder, role, layer, windows, rows[role])


def _write_layer(folder: Path, layer: int, kept: Mapping[str, Tensor], n: int) -> None:
    tensors = {"n": torch.tensor(n), "threshold": kept["threshold"][layer].clone()}
    names = ("count", "power", "value", "document", "position")
    tensors |= {name: kept[name][layer].clone() for name in names}
    with replacing(folder / layer_file(layer)) as temporary:
        save_file(tensors, temporary)


def _write_panel(folder: Path, role: str, layer: int, windows: Sequence[Window], rows: int) -> None:
    order: list[npt.NDArray[np.int64]] = []
    pieces: list[tuple[Tensor, Tensor]] = []
    for number, window in enumerate(windows):
        if window.role == role and len(window.rows):
            order.append(window.rows)
            with safe_open(part_path(folder, number), framework="pt") as file:
                pieces.append((file.get_slice("inputs")[layer], file.get_tensor("scale")[layer]))
    index_M = torch.from_numpy(np.concatenate(order))
    assert len(index_M) == rows
    scale = torch.stack([own for _, own in pieces]).amax()
    inputs_MD = torch.empty(rows, pieces[0][0].shape[-1], dtype=torch.float16)
    inputs_MD[index_M] = torch.cat([(rows_mD.float() * (own / scale)).half() for rows_mD, own in pieces])
    with replacing(folder / panel_file(role, layer)) as temporary:
        save_file({"inputs": inputs_MD, "scale": scale}, temporary)


def _not_finite(layer: int) -> NlaeError:
    return NlaeError(
        f"an activation of the MLP of layer {layer} is not finite: the target overflows in this type; "
        "set trainer.precision=fp32"
    )
