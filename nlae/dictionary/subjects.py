"""What a dictionary describes, behind one interface: the neurons of a scan, or directions at one site.

A *subject* is a column with an activation at every token; its *inputs* are what the activation is computed from.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.direction_scan import promoted_by, read_site, summarise
from nlae.dictionary.directions import Directions
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
        self._promoted: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

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
        """See `Subjects`; those of the last block are kept."""
        if (layer, k) not in self._promoted:
            self._promoted = {(layer, k): promoted(self._target, layer, k)}
        return self._promoted[layer, k]


class DirectionSubjects:
    """Directions at one site, as the columns of one layer; their inputs are what stands at the site.

    Args:
        scan: finished scan of the same corpus; gives the panels' places.
        directions: with their site.
        target: the model that was scanned.
        corpus: its passages.
    """

    def __init__(self, scan: Scan, directions: Directions, target: Target, corpus: Corpus) -> None:
        assert directions.site is not None
        self._scan, self._directions, self._target, self._corpus = scan, directions, target, corpus
        self.site = directions.site.resolve(target.n_layers)
        self.layers = [self.site.index]
        self.width, self.d_model = directions.write_nd.shape
        self.signed = directions.signed
        self._panels: dict[str, Panel] = {}
        self._inputs: dict[str, Tensor] = {}
        self._summary: tuple[Exemplars, Moments] | None = None

    def panel(self, role: str) -> Panel:
        """See `Subjects`."""
        if role not in self._panels:
            self._panels[role] = self._scan.panel(role)
        return self._panels[role]

    def inputs(self, layer: int, role: str) -> Tensor:
        """See `Subjects`; read when it is first asked for, and kept."""
        if role not in self._inputs:
            self._inputs[role] = read_site(self._target, self.site, self._corpus, self.panel(role))
        return self._inputs[role]

    def activations(self, layer: int, inputs_MD: Tensor) -> Tensor:
        """See `Subjects`."""
        return self._directions.activations(inputs_MD)

    def exemplars(self, layer: int) -> Exemplars:
        """See `Subjects`; of the panel `train`."""
        return self._summarised()[0]

    def moments(self, layer: int) -> Moments:
        """See `Subjects`; over the panel `train`."""
        return self._summarised()[1]

    def promoted(self, layer: int, k: int) -> tuple[Tensor, Tensor]:
        """See `Subjects`; empty lists for directions at an MLP's input."""
        return promoted_by(self._target, self.site, self._directions.write_nd, k)

    def _summarised(self) -> tuple[Exemplars, Moments]:
        if self._summary is None:
            inputs_MD = self.inputs(self.site.index, "train")
            top = int(self._scan.facts["top"])
            self._summary = summarise(self._directions, inputs_MD, self.panel("train"), top)
        return self._summary
