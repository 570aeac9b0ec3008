"""What a finished scan holds, and how to read it: panels, exemplars and moments, one file per layer, mapped on demand.

Nothing here computes. Contexts are given by reference (document, position) into the corpus and never copied;
neurons are not kept either: `neurons_of` computes those at a panel's positions from the MLP inputs that it holds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor

from nlae.errors import NlaeError
from nlae.files.arrow import read_table
from nlae.files.foreign import parse_json

FACTS = "scan.json"
ROLES = ("train", "select", "bar", "test")
_REBUILD = "delete its folder and run the same command again to rebuild it"

Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.object_]


@dataclasses.dataclass(frozen=True)
class Exemplars:
    """The passages of the training split in which each neuron of a layer is strongest, one position per passage.

    Attributes:
        value: sign·a, descending, float32 [2, N, k]; index 0 is "+", 1 is "−". 0 where there are fewer than k passages
            in which sign·a exceeds 0.
        document: passage in the corpus, int32 [2, N, k]; −1 where `value` is 0.
        position: token in it, int32 [2, N, k]; −1 where `value` is 0.
    """

    value: Tensor
    document: Tensor
    position: Tensor


@dataclasses.dataclass(frozen=True)
class Moments:
    """How the neurons of a layer are distributed over the training tokens from `min_position` on.

    Attributes:
        n: tokens.
        mean, variance, kurtosis: float32 [N]; kurtosis is the excess over a normal distribution's 3, and 0 for
            neurons that never vary.
        frequency: share of tokens at which sign·a exceeds `threshold`, float32 [2, N].
        threshold: root mean square of all neurons of the layer over the calibration tokens.
    """

    n: int
    mean: Tensor
    variance: Tensor
    kurtosis: Tensor
    frequency: Tensor
    threshold: float


@dataclasses.dataclass(frozen=True)
class Panel:
    """Token positions of one role's documents at which the MLP input of every layer is kept.

    Attributes:
        folder: of the scan.
        role: `train`, `select`, `bar` or `test`.
        document, position, token_id: int64 [M], ascending by document and position; the token is the one *at* the
            position, the last of the context.
        run: number of the run of consecutive positions that a row belongs to, ascending, int64 [M].
        source: source work, object [M].
    """

    folder: Path
    role: str
    document: Ints
    position: Ints
    token_id: Ints
    run: Ints
    source: Strings

    def __len__(self) -> int:
        return len(self.document)

    def inputs(self, layer: int) -> Tensor:
        """Input of the block's MLP, raw, float32 [M, d_model]."""
        with _open(self.folder / panel_file(self.role, layer)) as file:
            values_MD: Tensor = file.get_tensor("inputs").float()
            return values_MD.mul_(file.get_tensor("scale"))


class Scan:
    """A finished scan.

    Args:
        folder: what `scan` wrote.
        facts: content of its `scan.json`.

    Attributes:
        signed: whether negative activations exist, so that both signs are entries.
    """

    signed = True

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.facts = facts
        self.layers: tuple[int, ...] = tuple(facts["layers"])
        self.width = int(facts["width"])
        self.d_model = int(facts["d_model"])
        self.n_tokens = int(facts["n_tokens"])
        self.min_position = int(facts["min_position"])
        self._panels: dict[str, Panel] = {}

    @classmethod
    def open(cls, folder: Path | str) -> Scan:
        """Read what `scan` wrote; no tensor is touched yet.

        Raises:
            NlaeError: there is no finished scan.
        """
        path = Path(folder) / FACTS
        try:
            return cls(Path(folder), parse_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as problem:
            raise NlaeError(f"{path} is missing or damaged: {_REBUILD}") from problem

    def panel(self, role: str) -> Panel:
        """The panel of `train`, `select`, `bar` or `test`; kept."""
        if role not in self._panels:
            self._panels[role] = self._panel(role)
        return self._panels[role]

    def _panel(self, role: str) -> Panel:
        if role not in ROLES:
            raise NlaeError(f"panel {role!r}: unknown; choose one of {', '.join(ROLES)}")
        table = read_table(self.folder / f"panel-{role}.arrow", _REBUILD)
        names = ("document", "position", "token_id", "run")
        columns = {name: table[name].to_numpy().astype(np.int64) for name in names}
        source = np.asarray(table["source"].to_pylist(), dtype=object)
        return Panel(self.folder, role, **columns, source=source)

    def exemplars(self, layer: int) -> Exemplars:
        """Strongest passages of each neuron."""
        with _open(self.folder / layer_file(layer)) as file:
            return Exemplars(*(file.get_tensor(name) for name in ("value", "document", "position")))

    def moments(self, layer: int) -> Moments:
        """Moments and activation frequency of each neuron."""
        with _open(self.folder / layer_file(layer)) as file:
            power_4N, count_2N = file.get_tensor("power"), file.get_tensor("count")
            return moments(power_4N, count_2N, int(file.get_tensor("n")), float(file.get_tensor("threshold")))


def moments(power_4N: Tensor, count_2N: Tensor, n: int, threshold: float) -> Moments:
    """Moments from the float64 sums of the first four powers over `n` tokens."""
    m1, m2, m3, m4 = power_4N.double() / max(n, 1)
    variance = (m2 - m1**2).clamp_min(0)
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    # what is left of a constant is rounding, not variance
    varies = variance > 1e-10 * m2
    safe = torch.where(varies, variance, torch.ones_like(variance))
    return Moments(
        n=n,
        mean=m1.float(),
        variance=variance.float(),
        kurtosis=torch.where(varies, fourth / safe**2 - 3, 0.0).float(),
        frequency=(count_2N.double() / max(n, 1)).float(),
        threshold=threshold,
    )


def layer_file(layer: int) -> str:
    """Name of the file of one layer's exemplars and moments."""
    return f"layer-{layer:03d}.safetensors"


def panel_file(role: str, layer: int) -> str:
    """Name of the file of one layer's panel."""
    return f"panel-{role}-{layer:03d}.safetensors"


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except Exception as problem:  # safetensors raises its own kind, and OSError
        raise NlaeError(f"{path} is missing or damaged ({problem}): {_REBUILD}") from problem
