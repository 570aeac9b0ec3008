"""The columns of one layer that go through everything alike: neurons and two nulls, each of them with its decoys.

A rotated direction is a random orthogonal mix of the layer's neurons: a null for the claim that neurons, and not just
any direction, are describable. Decoys keep what the last token explains and lose the rest (`scan.decoys`). Those of the
neurons set the rule, so they cannot say how often it errs: for that some neurons are permuted anew and stand in the
neurons' place, each against one more permutation of the same neuron, with which it is exchangeable.
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
NULL, NULL_DECOY = "null", "null decoy"
DECOY_OF = {REAL: DECOY, ROTATED: ROTATED_DECOY, NULL: NULL_DECOY}
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
        drawn: the neuron behind each column of the null group, ascending, int64 [n].
    """

    layer: int
    panels: Mapping[str, Panel]
    inputs: Mapping[str, Tensor]
    groups: Mapping[str, Columns]
    drawn: Ints = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))

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
        rotated: number of rotated directions, and of neurons in the null group.
        seed: of decoys, rotations and nulls.
    """
    panels = {role: scan.panel(role) for role in ROLES}
    real = {role: panel.neurons(layer) for role, panel in panels.items()}
    groups = {REAL: real, DECOY: decoys(real, panels, token_counts, seed, layer)}
    drawn = drawn_neurons(scan.width, rotated, seed, layer)
    if rotated:
        mix_nR = rotation(scan.width, rotated, generator(seed, "rotation", layer))
        turned = {role: values @ mix_nR for role, values in real.items()}
        groups[ROTATED] = turned
        groups[ROTATED_DECOY] = _decoys(turned, panels, token_counts, derive_seed(seed, "rotated decoys", layer))
        few = {role: values[:, torch.from_numpy(drawn)] for role, values in real.items()}
        for name in (NULL, NULL_DECOY):
            groups[name] = _decoys(few, panels, token_counts, derive_seed(seed, name, layer))
    document_M = torch.from_numpy(np.ascontiguousarray(panels["train"].document))
    return LayerData(
        layer,
        panels,
        {role: panel.inputs(layer) for role, panel in panels.items()},
        {name: Columns.of(values, document_M, count, quantile) for name, values in groups.items()},
        drawn,
    )


def drawn_neurons(width: int, count: int, seed: int, layer: int) -> Ints:
    """Neurons of a layer that the null group is made from, ascending, int64 [≤ count]."""
    drawn: Ints = torch.randperm(width, generator=generator(seed, "null neurons", layer))[:count].sort().values.numpy()
    return drawn


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
