"""What a scan leaves on disk while it runs, and how that becomes the finished folder.

Each window with panel rows leaves one part; every few windows the streams leave a state. Both appear whole or not at
all, and a state is only written after the parts before it, so that a killed scan goes on from the last state and ends
with the same bytes. Float16 never overflows: every part has a power of two per layer that brings its largest value
below 2¹⁵, and so has every finished file, so that rescaling loses nothing but what float16 cannot tell from 0.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlae.dictionary.scan.exemplars import Streams
from nlae.dictionary.scan.folder import ROLES, layer_file, panel_file
from nlae.dictionary.scan.plan import Window
from nlae.errors import NlaeError
from nlae.files.arrow import replacing
from nlae.files.foreign import parse_json

RESUME = "resume"  # a folder of this name is no part of a finished artifact
_STATE = "state.safetensors"
_LEAST_EXPONENT = -100  # powers of two below are no normal float32


def shrunk(values: Tensor) -> tuple[Tensor, Tensor]:
    """`values` as float16, divided by a power of two that brings them below 2¹⁵, and this power, float32 ()."""
    _, exponent = torch.frexp(values.abs().amax().float())
    scale = torch.ldexp(torch.ones((), device=values.device), exponent.clamp_min(_LEAST_EXPONENT) - 15)
    return (values.float() / scale).half(), scale


def part_path(folder: Path, number: int) -> Path:
    """The part of one window."""
    return folder / RESUME / f"part-{number:05d}.safetensors"


def write_part(folder: Path, number: int, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Write the panel rows of one window: `shrunk` MLP inputs, float16 [m, d_model], of each layer.

    Raises:
        NlaeError: a value is not finite.
    """
    inputs_LmD = torch.stack([rows_mD for rows_mD, _ in layers]).cpu()
    _check_finite(inputs_LmD)
    with replacing(part_path(folder, number)) as temporary:
        save_file({"inputs": inputs_LmD, "scale": torch.stack([scale for _, scale in layers]).cpu()}, temporary)


def write_state(folder: Path, streams: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write the streams, with what is needed to know where they stand.

    Raises:
        NlaeError: an activation was not finite.
    """
    _check_finite(streams["power"])
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


def finish(folder: Path, windows: Sequence[Window], streams: Streams) -> None:
    """Write the files of all layers from the streams and the parts."""
    kept = {name: tensor.cpu() for name, tensor in streams.tensors.items()}
    for layer in range(len(kept["threshold"])):
        of_layer = {name: tensor[layer].clone() for name, tensor in kept.items()}
        with replacing(folder / layer_file(layer)) as temporary:
            save_file({"n": torch.tensor(streams.n), **of_layer}, temporary)
        for role in ROLES:
            _write_panel(folder, role, layer, windows)


def _write_panel(folder: Path, role: str, layer: int, windows: Sequence[Window]) -> None:
    pieces: list[tuple[Tensor, Tensor]] = []
    numbers = [number for number, window in enumerate(windows) if window.role == role and len(window.rows)]
    for number in numbers:
        with safe_open(part_path(folder, number), framework="pt") as file:
            pieces.append((file.get_slice("inputs")[layer], file.get_tensor("scale")[layer]))
    scale = torch.stack([own for _, own in pieces]).amax()
    inputs_MD = torch.cat([(rows_mD.float() * (own / scale)).half() for rows_mD, own in pieces])
    row_M = torch.from_numpy(np.concatenate([windows[number].rows for number in numbers]))
    with replacing(folder / panel_file(role, layer)) as temporary:
        save_file({"inputs": torch.empty_like(inputs_MD).index_copy_(0, row_M, inputs_MD), "scale": scale}, temporary)


def _check_finite(value_LXX: Tensor) -> None:
    """Refuse values of several layers that are not finite.

    Raises:
        NlaeError: some are not; it names the first such layer.
    """
    finite_L = torch.isfinite(value_LXX).all(-1).all(-1)
    if not finite_L.all():
        raise NlaeError(
            f"an activation of the MLP of layer {int((~finite_L).nonzero()[0])} is not finite: the target overflows in "
            "this type; set trainer.precision=fp32"
        )
