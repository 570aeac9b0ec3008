"""What a dictionary describes, behind one interface: the neurons of a scan, or directions at one site.

A *subject* is a column with an activation at every token; its *inputs* are what the activation is computed from.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from nlae.dictionary.scan.folder import Exemplars, Moments, Panel, Scan
from nlae.dictionary.scan.neurons import neurons_of
from nlae.dictionary.scan.output_side import promoted
from nlae.target import Target


class Subjects(Protocol):
    """All columns of some layers.

    Attributes:
        layers: block indices.
        width: columns per layer, n.
        signed: whether negative activations exist, so that both signs are entries.
        d_model: width of the inputs, d.
    """

    layers: list[int]
    width: int
    signed: bool
    d_model: int

    def panel(self, role: str) -> Panel:
        """Positions of `train`, `select`, `bar` or `test`, M of them."""
        ...

    def inputs(self, layer: int, role: str) -> Tensor:
        """Raw inputs at a panel's positions, float32 [M, d]."""
        ...

    def activations(self, layer: int, inputs_MD: Tensor) -> Tensor:
        """Activation of every column at given inputs, float32 [M, n]."""
        ...

    def exemplars(self, layer: int) -> Exemplars:
        """Strongest passages of the training works, [2, n, k]."""
        ...

    def moments(self, layer: int) -> Moments:
        """Moments and frequency over training works, [n]."""
        ...

    def promoted(self, layer: int, k: int) -> tuple[Tensor, Tensor]:
        """Ids and weights of the k tokens that each column promotes and suppresses, both [2, 2, n, k]."""
        ...


class Neurons:
    """The neurons of a scan's layers; their inputs are those of the MLP.

    Args:
        scan: finished scan.
        target: the model that was scanned.
    """

    signed = True

    def __init__(self, scan: Scan, target: Target) -> None:
        self._scan, self._target = scan, target
        self.layers = list(scan.layers)
        self.width, self.d_model = scan.width, scan.d_model
        self._panels: dict[str, Panel] = {}

    def panel(self, role: str) -> Panel:
        """See `Subjects`."""
        if role not in self._panels:
            self._panels[role] = self._scan.panel(role)
        return self._panels[role]

    def inputs(self, layer: int, role: str) -> Tensor:
        """See `Subjects`."""
        return self.panel(role).inputs(layer)

    def activations(self, layer: int, inputs_MD: Tensor) -> Tensor:
        """See `Subjects`."""
        return neurons_of(self._target, layer, inputs_MD)

    def exemplars(self, layer: int) -> Exemplars:
        """See `Subjects`."""
        return self._scan.exemplars(layer)

    def moments(self, layer: int) -> Moments:
        """See `Subjects`."""
        return self._scan.moments(layer)

    def promoted(self, layer: int, k: int) -> tuple[Tensor, Tensor]:
        """See `Subjects`."""
        return promoted(self._target, layer, k)
