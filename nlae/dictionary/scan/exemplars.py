"""Streaming exemplars and moments of all neurons, on the device, with memory that does not grow with the text.

Legend: L layers, B passages, T positions, N neurons, K exemplars, 2 the signs. Powers and sums within a block of
passages are float32, sums across blocks float64. Left out: quantile samples per neuron (they follow from the panels)
and anything that needs to know a neuron's distribution before the pass.
"""

import torch
from torch import Tensor

# values of one neuron block in flight: what a processor's cache holds, and what keeps a GPU busy
_CPU_BLOCK, _GPU_BLOCK = 1 << 20, 1 << 27


class Streams:
    """What is accumulated over `n` training tokens: `top` exemplars per neuron and sign, counts and sums of powers.

    The whole state but `n` lies in `tensors`, by name.
    """

    def __init__(self, layers: int, width: int, top: int, device: torch.device | str = "cpu") -> None:
        best = (layers, 2, width, top)
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

    def update(self, layer: int, hidden_BTN: Tensor, padding_BT: Tensor, document_B: Tensor) -> None:
        """Take in one layer's neurons over one window, any float type, and the int32 numbers of its passages.

        `padding_BT` says which of its last T positions are padding, bool; the earlier ones do not count.
        """
        first = hidden_BTN.shape[1] - padding_BT.shape[1]
        hidden_BTN = hidden_BTN[:, first:]
        size = _GPU_BLOCK if hidden_BTN.is_cuda else _CPU_BLOCK
        step = max(1, size // hidden_BTN[0].numel())
        found = []
        for start in range(0, len(hidden_BTN), step):
            block_bTN = hidden_BTN[start : start + step].float()
            padding_bT = padding_BT[start : start + step]
            if padding_bT.any():  # a zero adds nothing to any sum, and is no peak
                block_bTN = block_bTN.masked_fill(padding_bT[..., None], 0.0)
            found.append(peaks(block_bTN))
            self._sums(layer, block_bTN)
        value_2BN, position_2BN = (torch.cat(pieces, dim=1) for pieces in zip(*found, strict=True))
        self._merge(layer, value_2BN, position_2BN + first, document_B)

    def _sums(self, layer: int, x_bTN: Tensor) -> None:
        power_4N, count_2N = self.tensors["power"][layer], self.tensors["count"][layer]
        threshold, both = self.tensors["threshold"][layer], (0, 1)
        count_2N[0] += (x_bTN > threshold).sum(both)
        count_2N[1] += (x_bTN < -threshold).sum(both)
        power_4N[0] += x_bTN.sum(both)
        square_bTN = x_bTN * x_bTN
        power_4N[1] += square_bTN.sum(both)
        power_4N[2] += (x_bTN * square_bTN).sum(both)
        power_4N[3] += square_bTN.mul_(square_bTN).sum(both)

    def _merge(self, layer: int, value_2BN: Tensor, position_2BN: Tensor, document_B: Tensor) -> None:
        """Keep the best of what was kept and the new peaks; among equals those that were read first."""
        kept = {name: self.tensors[name][layer] for name in ("value", "document", "position")}
        new_2NB = value_2BN.transpose(1, 2)
        # a passage in which the sign never shows is no exemplar of it
        shows = new_2NB > 0
        values = torch.cat([kept["value"], torch.where(shows, new_2NB, 0.0)], dim=-1)
        documents = torch.cat([kept["document"], torch.where(shows, document_B, -1)], dim=-1)
        positions = torch.cat([kept["position"], torch.where(shows, position_2BN.transpose(1, 2), -1)], dim=-1)
        # topk leaves open which of several equals it takes, and half precision has many
        best, index = values.sort(dim=-1, descending=True, stable=True)
        kept["value"].copy_(best[..., : self._top])
        kept["document"].copy_(documents.gather(-1, index[..., : self._top]))
        kept["position"].copy_(positions.gather(-1, index[..., : self._top]))


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
