"""What a dictionary describes, behind one interface, and the neurons of a scan as the usual case of it.

A *subject* is a column with an activation at every token; its *inputs* are what the activation is computed from.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from nlae.dictionary.scan.folder import Exemplars, Moments, Panel, Scan
from nlae.dictionary.subjects.output_side import promoted
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
    """The neurons of a finished scan of a target; their inputs are those of the MLP. See `Subjects`."""

    signed = True

    def __init__(self, scan: Scan, target: Target) -> None:
        self._target = target
        self.layers, self.width, self.d_model = list(scan.layers), scan.width, scan.d_model
        self.panel, self.inputs, self.exemplars, self.moments = scan.panel, scan.inputs, scan.exemplars, scan.moments

    def activations(self, layer: int, inputs_MD: Tensor) -> Tensor:
        """Of every neuron, float32 [M, N]."""
        return neurons_of(self._target, layer, inputs_MD)

    def promoted(self, layer: int, k: int) -> tuple[Tensor, Tensor]:
        """What their write vectors raise and lower."""
        return promoted(self._target, layer, k)


@torch.no_grad()
def neurons_of(target: Target, layer: int, inputs_MD: Tensor, batch: int = 2048) -> Tensor:
    """What enters the down-projection of one block when its MLP reads given inputs.

    Args:
        target: the model; its type and device are used.
        layer: block index.
        inputs_MD: inputs of the block's MLP, raw.
        batch: rows at once.

    Returns:
        float32 [M, N], on the CPU.
    """
    architecture = target.architecture
    mlp = architecture.mlp(architecture.blocks(target.model)[layer])
    down, _ = architecture.hooked(target.model, "mlp_neurons", layer)
    found: list[Tensor] = []

    def seen(_module: Any, args: Any) -> None:
        found.append(args[0].flatten(0, -2).float().cpu())

    handle = down.register_forward_pre_hook(seen)
    try:
        for rows_mD in inputs_MD.split(batch):
            mlp(rows_mD[None].to(target.device, target.dtype))
    finally:
        handle.remove()
    return torch.cat(found)
