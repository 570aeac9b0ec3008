"""The columns of one layer that go through everything alike: neurons, their decoys, rotated directions, their decoys.

A rotated direction is a random orthogonal mix of the layer's neurons: a null for the claim that neurons, and not just
any direction, are describable. Decoys keep what the last token explains and lose the rest (`scan.decoys`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.dictionary.scan.decoys import decoy_panel
from nlae.dictionary.scan.folder import ROLES, Panel, Scan
from nlae.dictionary.score.panels import rotation, strongest
from nlae.functional.randomness import derive_seed, generator

REAL, DECOY, ROTATED, ROTATED_DECOY = "real", "decoy", "rotated", "rotated decoy"
GROUPS = (REAL, DECOY, ROTATED, ROTATED_DECOY)
Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Columns:
    """Activations of n columns on all panels, and where each entry is strongest.

    Attributes:
        values: role -> float32 (M, n).
        row_2nK: strongest contexts of the training panel, one per passage, int64, −1 where sign · a ≤ 0.
        threshold_2n: an entry is active above it.
    """

    values: Mapping[str, Tensor]
    row_2nK: Tensor
    threshold_2n: Tensor

    @property
    def n(self) -> int:
        """Number of columns."""
        return int(self.threshold_2n.shape[1])

    @classmethod
    def of(cls, values: Mapping[str, Tensor], document_M: Tensor, count: int, quantile: float) -> Columns:
        """Find the strongest contexts of given activations, one per passage."""
        row_2nK, threshold_2n = strongest(values["train"], document_M, count, quantile)
        return cls(values, row_2nK, threshold_2n)


@dataclasses.dataclass(frozen=True)
class LayerData:
    """What the scan holds of one layer, as scores want it.

    Attributes:
        layer: block index.
        panels: role -> where its contexts lie in the corpus.
        inputs: role -> MLP inputs, raw, float32 (M, d).
        groups: columns by name.
    """

    layer: int
    panels: Mapping[str, Panel]
    inputs: Mapping[str, Tensor]
    groups: Mapping[str, Columns]

    @property
    def real(self) -> Columns:
        """The layer's neurons."""
        return self.groups[REAL]


def read_layer(
    scan: Scan, layer: int, token_counts: Ints, *, count: int, quantile: float, rotated: int, seed: int
) -> LayerData:
    """Read one layer's panels and make its nulls.

    Args:
        scan: finished scan.
        layer: block index.
        token_counts: occurrences of each token id in the corpus.
        count: strongest contexts to keep per entry.
        quantile: an entry is active above this quantile of its training activations.
        rotated: number of rotated directions.
        seed: of decoys and rotations.
    """
    panels = {role: scan.panel(role) for role in ROLES}
    real = {role: panel.neurons(layer) for role, panel in panels.items()}
    groups = {REAL: real, DECOY: decoys(real, panels, token_counts, seed, layer)}
    if rotated:
        mix_nR = rotation(scan.width, rotated, generator(seed, "rotation", layer))
        turned = {role: values @ mix_nR for role, values in real.items()}
        groups[ROTATED] = turned
        groups[ROTATED_DECOY] = _decoys(turned, panels, token_counts, derive_seed(seed, "rotated decoys", layer))
    document_M = torch.from_numpy(np.ascontiguousarray(panels["train"].document))
    return LayerData(
        layer,
        panels,
        {role: panel.inputs(layer) for role, panel in panels.items()},
        {name: Columns.of(values, document_M, count, quantile) for name, values in groups.items()},
    )


def decoys(
    values: Mapping[str, Tensor], panels: Mapping[str, Panel], token_counts: Ints, seed: int, layer: int
) -> dict[str, Tensor]:
    """Each column of a layer's panels, permuted; see `scan.decoys`."""
    return _decoys(values, panels, token_counts, derive_seed(seed, "decoys", layer))


def _decoys(
    values: Mapping[str, Tensor], panels: Mapping[str, Panel], token_counts: Ints, seed: int
) -> dict[str, Tensor]:
    return {
        role: decoy_panel(values[role], panels[role].token_id, token_counts, derive_seed(seed, role)) for role in values
    }


def last_tokens(panel: Panel) -> Tensor:
    """Last token of each context, int64 (M,)."""
    return torch.from_numpy(np.ascontiguousarray(panel.token_id))
