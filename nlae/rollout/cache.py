"""Keys and values of rows that come and go, in buffers that are allocated once.

The prompt's prefix is kept once for all rows. A row's own entries start at its slot; rows that are decoded lie side by
side from 0, so that a step reads a slice. It answers the few calls that transformers' decoders make of a cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from nlae.rollout.attention import Past, kept_in


class SharedPrefixCache:
    """One prefix, and room for `rows` rows of `room` entries each.

    Args:
        prefix: the prefix's keys and values, of one row.
        n_prefix: tokens in it; 0 when the prompt starts at its slot, and then `prefix` is empty.
        rows: how many rows there is room for.
        room: entries per row.
    """

    is_compileable = False

    def __init__(self, prefix: DynamicCache, n_prefix: int, rows: int, room: int) -> None:
        self._prefix, self.n_prefix, self.rows, self.room = prefix, n_prefix, rows, room
        self._own: dict[int, tuple[Tensor, Tensor]] = {}
        self.first = self.count = 0
        self.position_BS = torch.empty(0)

    def aim(self, first: int, count: int, position_BS: Tensor, width: int, start: int | None) -> Tensor:
        """Say which rows the next pass is for.

        Args:
            first: the first of them.
            count: how many.
            position_BS: places of the new entries in the whole sequence.
            width: own entries of the longest row after this pass (the host knows: asking the device would wait for it).
            start: where the new entries begin among a row's own, if that is the same place in all rows.

        Returns:
            Which of their own entries each query may see; bool (B, 1, S, T).
        """
        self.first, self.count, self.position_BS = first, count, position_BS
        self._width, self._start = width, start
        self._at_BS = own_BS = position_BS - self.n_prefix
        place_T = torch.arange(width, device=own_BS.device)
        return (place_T <= own_BS[..., None])[:, None]

    def update(self, key_BKSD: Tensor, value_BKSD: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Past, Past]:
        """Write the entries of this pass, and return all that its queries may look at."""
        if layer_idx not in self._own:
            self._own[layer_idx] = self._allocate(key_BKSD, value_BKSD)
        key, value = self._own[layer_idx]
        prefix_key_KPD, prefix_value_KPD = self._shared(layer_idx, key, value)
        return self._write(key, key_BKSD, prefix_key_KPD), self._write(value, value_BKSD, prefix_value_KPD)

    def _allocate(self, key_BKSD: Tensor, value_BKSD: Tensor) -> tuple[Tensor, Tensor]:
        rows, room, heads, width = self.rows, self.room, key_BKSD.shape[1], key_BKSD.shape[3]
        # scores are sums over the width: keys lie with their places side by side, a quarter faster on CPUs
        key_RKDT = key_BKSD.new_zeros(rows, heads, width, room, dtype=kept_in(key_BKSD))
        value_RKTD = value_BKSD.new_zeros(rows, heads, room, value_BKSD.shape[3], dtype=kept_in(value_BKSD))
        return key_RKDT.transpose(2, 3), value_RKTD

    def _write(self, buffer_RKTD: Tensor, new_BKSD: Tensor, prefix_KPD: Tensor) -> Past:
        heads, length = new_BKSD.shape[1], new_BKSD.shape[2]
        first, last, start = self.first, self.first + self.count, self._start
        if start is not None:
            buffer_RKTD[first:last, :, start : start + length] = new_BKSD
        else:
            row_B1 = torch.arange(first, last, device=new_BKSD.device)[:, None]
            buffer_RKTD[row_B1, :, self._at_BS] = new_BKSD.transpose(1, 2)
        own_NTD = buffer_RKTD.flatten(0, 1)[first * heads : last * heads, : self._width]
        return Past(prefix_KPD, own_NTD, self.position_BS, start is not None and length == 1)

    def move(self, source_N: Tensor, destination_N: Tensor) -> None:
        """Copy whole rows; no row may be in both."""
        for buffers in self._own.values():
            for buffer in buffers:
                buffer[destination_N] = buffer[source_N]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Entries before this pass; decoders that are given positions do not use it."""
        return self.n_prefix

    def _shared(self, layer: int, key_RKTD: Tensor, value_RKTD: Tensor) -> tuple[Tensor, Tensor]:
        if not self.n_prefix:
            return key_RKTD[0, :, :0], value_RKTD[0, :, :0]
        kept: Any = self._prefix.layers[layer]
        return kept.keys[0].to(key_RKTD.dtype), kept.values[0].to(value_RKTD.dtype)
