"""Streaming exemplars, decoys and moments of all neurons, on the device, with memory that does not grow with the text.

Legend: L layers, S real and decoy, B passages, T positions, N neurons, K exemplars, 2 the signs. Powers and sums within
a block of passages are float32, sums across blocks float64. Left out: quantile samples per neuron (the panels hold them
for all neurons at once) and anything that needs to know a neuron's distribution before the pass.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

# values of one neuron block in flight: what a processor's cache holds, and what keeps a GPU busy
_CPU_BLOCK, _GPU_BLOCK = 1 << 20, 1 << 27


@dataclasses.dataclass(frozen=True)
class Reading:
    """One window as the device sees it; positions before `min_position` are cut off.

    Attributes:
        real_BT: row of the flattened window that each position is read from; padding repeats its passage's last one.
        decoy_LBT: the same for the decoys of each layer.
        pads: for each passage the flat positions (within [B, T]) that are padding, concatenated; int64.
        pad_ends: how many of `pads` belong to the first b passages, b = 0 … B; on the host.
        document_B: passage numbers, int32.
        first: position in the passage of the first column.
        tokens: positions that count.
    """

    real_BT: Tensor
    decoy_LBT: Tensor
    pads: Tensor
    pad_ends: tuple[int, ...]
    document_B: Tensor
    first: int
    tokens: int


class Streams:
    """What is accumulated over the training tokens.

    Args:
        layers: number of layers.
        width: neurons per layer.
        top: exemplars per neuron and sign.
        device: where everything lives.

    Attributes:
        tensors: the whole state by name; what `state` files hold.
        n: tokens counted so far.
    """

    def __init__(self, layers: int, width: int, top: int, device: torch.device | str = "cpu") -> None:
        best = (layers, 2, 2, width, top)
        self.tensors = {
            "value": torch.zeros(best, device=device),
            "document": torch.full(best, -1, dtype=torch.int32, device=device),
            "position": torch.full(best, -1, dtype=torch.int32, device=device),
            "count": torch.zeros((layers, 2, width), dtype=torch.int64, device=device),
            "power": torch.zeros((layers, 4, width), dtype=torch.float64, device=device),
            "threshold": torch.zeros(layers, device=device),
        }
        self.n = 0
        self._top = top

    def update(self, layer: int, hidden_NW: Tensor, reading: Reading) -> None:
        """Take in one layer's neurons over one window.

        Args:
            layer: its index in the state.
            hidden_NW: the flattened window, padding included, any float type, shape (B·T, N).
            reading: where its tokens are.
        """
        size = _GPU_BLOCK if hidden_NW.is_cuda else _CPU_BLOCK
        n_passages, n_positions = reading.real_BT.shape
        step = max(1, size // (n_positions * hidden_NW.shape[1]))
        peaks = [self._block(layer, hidden_NW, reading, b, b + step) for b in range(0, n_passages, step)]
        value_S2BN = torch.cat([value for value, _ in peaks], dim=2)
        position_S2BN = torch.cat([position for _, position in peaks], dim=2)
        self._merge(layer, value_S2BN, position_S2BN + reading.first, reading.document_B)

    def _block(self, layer: int, hidden_NW: Tensor, reading: Reading, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Moments of some passages, and the peaks of each: values and columns, both [S, 2, b, N]."""
        stop = min(stop, reading.real_BT.shape[0])
        decoy_bTN = _gather(hidden_NW, reading.decoy_LBT[layer, start:stop])
        decoy = peaks(decoy_bTN)
        real_bTN = _gather(hidden_NW, reading.real_BT[start:stop])
        real = peaks(real_bTN)
        flat_NW = real_bTN.flatten(0, 1)
        first, last = reading.pad_ends[start], reading.pad_ends[stop]
        if last > first:  # zeros add nothing to any sum
            offset = start * reading.real_BT.shape[1]
            flat_NW.index_fill_(0, reading.pads[first:last] - offset, 0.0)
        self._sums(layer, flat_NW)
        return torch.stack([real[0], decoy[0]]), torch.stack([real[1], decoy[1]])

    def _sums(self, layer: int, x_NW: Tensor) -> None:
        power_4W, count_2W = self.tensors["power"][layer], self.tensors["count"][layer]
        threshold = self.tensors["threshold"][layer]
        count_2W[0] += (x_NW > threshold).sum(0)
        count_2W[1] += (x_NW < -threshold).sum(0)
        power_4W[0] += x_NW.sum(0)
        square_NW = x_NW * x_NW
        power_4W[1] += square_NW.sum(0)
        power_4W[2] += (x_NW * square_NW).sum(0)
        power_4W[3] += square_NW.mul_(square_NW).sum(0)

    def _merge(self, layer: int, value_S2BN: Tensor, position_S2BN: Tensor, document_B: Tensor) -> None:
        """Keep the best of what was kept and the new peaks; ties go to what torch.topk takes first on this device."""
        kept = {name: self.tensors[name][layer] for name in ("value", "document", "position")}
        new_S2NB = value_S2BN.transpose(2, 3)
        # a passage in which the sign never shows is no exemplar of it
        shows = new_S2NB > 0
        values = torch.cat([kept["value"], torch.where(shows, new_S2NB, 0.0)], dim=-1)
        documents = torch.cat([kept["document"], torch.where(shows, document_B, -1)], dim=-1)
        positions = torch.cat([kept["position"], torch.where(shows, position_S2BN.transpose(2, 3), -1)], dim=-1)
        best, index = values.topk(self._top, dim=-1)
        kept["value"].copy_(best)
        kept["document"].copy_(documents.gather(-1, index))
        kept["position"].copy_(positions.gather(-1, index))


def peaks(x_BTN: Tensor) -> tuple[Tensor, Tensor]:
    """Largest sign·a of each passage and the column where it first stands: float32 and int32, both [2, B, N].

    Found by comparing with the maximum, which is several times faster than an argmax along a strided dimension.
    """
    length = x_BTN.shape[1]
    kind = torch.uint8 if length <= 255 else torch.int16 if length < 1 << 15 else torch.int32
    # the earliest column weighs most, and 0 means "not here"
    weight_T1 = torch.arange(length, 0, -1, device=x_BTN.device).to(kind)[:, None]
    extremes = (x_BTN.amax(1), x_BTN.amin(1))
    found = []
    for extreme_BN in extremes:
        here_BTN = x_BTN == extreme_BN[:, None]
        here_BTN = here_BTN.view(torch.uint8) if kind is torch.uint8 else here_BTN.to(kind)
        found.append(length - here_BTN.mul_(weight_T1).amax(1).int())
    return torch.stack([extremes[0], -extremes[1]]), torch.stack(found)


def _gather(hidden_NW: Tensor, index_BT: Tensor) -> Tensor:
    """The named rows, float32, shape (B, T, N)."""
    rows_NW = hidden_NW.index_select(0, index_BT.flatten()).float()
    return rows_NW.view(*index_BT.shape, -1)
