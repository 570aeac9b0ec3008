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
import pyarrow as pa
import torch
from safetensors import safe_open
from torch import Tensor

from nlae.errors import NlaeError
from nlae.files.arrow import read_table, strings
from nlae.files.foreign import read_json

FACTS = "scan.json"
ROLES = ("train", "select", "bar", "test")
PLACES = ("document", "position", "token_id", "run")
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
        mean, variance, kurtosis: float32 [N]; kurtosis is the excess over a normal distribution's 3, and 0 for
            neurons that never vary.
        frequency: share of tokens at which sign·a exceeds the root mean square of all neurons of the layer over the
            calibration tokens, float32 [2, N].
    """

    mean: Tensor
    variance: Tensor
    kurtosis: Tensor
    frequency: Tensor


@dataclasses.dataclass(frozen=True)
class Panel:
    """Token positions of one role's documents at which the MLP input of every layer is kept.

    Attributes:
        document, position, token_id: int64 [M], ascending by document and position; the token is the one *at* the
            position, the last of the context.
        run: number of the run of consecutive positions that a row belongs to, ascending, int64 [M].
        source: source work, object [M].
    """

    document: Ints
    position: Ints
    token_id: Ints
    run: Ints
    source: Strings

    def __len__(self) -> int:
        return len(self.document)

    @classmethod
    def of(cls, table: pa.Table) -> Panel:
        """What `table` was made of."""
        columns = {name: table[name].to_numpy().astype(np.int64) for name in PLACES}
        return cls(**columns, source=strings(table["source"]))

    def table(self) -> pa.Table:
        """As an Arrow table."""
        columns = {name: pa.array(getattr(self, name)) for name in PLACES}
        return pa.table({**columns, "source": pa.array(self.source, pa.string())})


class Scan:
    """A finished scan: its folder, and what its `scan.json` says."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self.facts = folder, facts
        self.layers: tuple[int, ...] = tuple(facts["layers"])
        self.width, self.d_model, self.n_tokens = (int(facts[name]) for name in ("width", "d_model", "n_tokens"))
        self._panels: dict[str, Panel] = {}

    @classmethod
    def open(cls, folder: Path | str) -> Scan:
        """Read what `scan` wrote; no tensor is touched yet.

        Raises:
            NlaeError: there is no finished scan.
        """
        path = Path(folder) / FACTS
        try:
            return cls(Path(folder), read_json(path))
        except (OSError, ValueError) as problem:
            raise NlaeError(f"{path} is missing or damaged: {_REBUILD}") from problem

    def panel(self, role: str) -> Panel:
        """The panel of `train`, `select`, `bar` or `test`; kept."""
        if role not in ROLES:
            raise NlaeError(f"panel {role!r}: unknown; choose one of {', '.join(ROLES)}")
        if role not in self._panels:
            self._panels[role] = Panel.of(read_table(self.folder / f"panel-{role}.arrow", _REBUILD))
        return self._panels[role]

    def inputs(self, layer: int, role: str) -> Tensor:
        """Input of the block's MLP at a panel's positions, raw, float32 [M, d_model]."""
        with _open(self.folder / panel_file(role, layer)) as file:
            values_MD: Tensor = file.get_tensor("inputs").float()
            return values_MD.mul_(file.get_tensor("scale"))

    def exemplars(self, layer: int) -> Exemplars:
        """Strongest passages of each neuron."""
        with _open(self.folder / layer_file(layer)) as file:
            return Exemplars(*(file.get_tensor(name) for name in ("value", "document", "position")))

    def moments(self, layer: int) -> Moments:
        """Moments and activation frequency of each neuron."""
        with _open(self.folder / layer_file(layer)) as file:
            return moments(*(file.get_tensor(name) for name in ("power", "count", "n")))


def moments(power_4N: Tensor, count_2N: Tensor, n: Tensor | int) -> Moments:
    """Moments from the float64 sums of the first four powers over `n` tokens."""
    n = max(int(n), 1)
    m1, m2, m3, m4 = power_4N.double() / n
    variance = (m2 - m1**2).clamp_min(0)
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    # what is left of a constant is rounding, not variance
    varies = variance > 1e-10 * m2
    safe = torch.where(varies, variance, torch.ones_like(variance))
    return Moments(
        mean=m1.float(),
        variance=variance.float(),
        kurtosis=torch.where(varies, fourth / safe**2 - 3, 0.0).float(),
        frequency=(count_2N.double() / n).float(),
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
