"""Steps of the local engine as CUDA graphs: one launch a step instead of one for every small product.

A graph has fixed shapes, so rows and the places they look at are rounded up: rows beyond those that write run along,
in room that nobody uses yet, and places beyond a row's last are masked. Everything a step reads lies in buffers that
outlive a call (weights, the prefix, the cache, the last tokens), so training between calls needs no new graph. Left
out: reading prompts, which is a few large products, and sampling, which would need a graph for each temperature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nlae.errors import NlaeError

Run = Callable[[], None]
ROWS, PLACES = 8, 64  # rows are rounded up to at least so many eighths of a power of two; places to multiples


def capture(run: Run, pool: Any) -> Run:
    """Record what `run` launches; the result launches it again, from and into the same memory.

    Raises:
        NlaeError: no CUDA device, or the weights are not on it: the recording would hold nothing.
    """
    if pool is None or not torch.cuda.is_available():
        raise NlaeError("rollout.graphs=true needs a CUDA device and the weights on it; leave it at false here")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()  # libraries allocate and choose kernels at their first call, which a recording forbids
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        run()
    return graph.replay


def rounded_rows(count: int, most: int) -> int:
    """`count` rounded up to one of few sizes, at most an eighth larger (or 8), and never beyond `most`."""
    unit = max(ROWS, 1 << max(0, (count - 1).bit_length() - 3))
    return min(most, -(-count // unit) * unit)


def rounded_places(width: int, most: int) -> int:
    """`width` rounded up to a multiple of 64, and never beyond `most`."""
    return min(most, -(-width // PLACES) * PLACES)


class GraphedSteps:
    """Steps over one cache, recorded at the first use of each shape.

    Args:
        step: (last tokens, tokens written, width) to logits; must neither wait for the device nor bring anything to it.
        rows: of the cache.
        room: own entries of each of its rows.
        device: of all of them.
    """

    def __init__(self, step: Callable[[Tensor, Tensor, int], Tensor], rows: int, room: int, device: torch.device):
        self._step, self._rows, self._room = step, rows, room
        self._token_R = torch.zeros(rows, dtype=torch.long, device=device)
        self._written_R = torch.ones(rows, dtype=torch.long, device=device)
        self._logits_RV: Tensor | None = None
        self._recorded: dict[tuple[int, int], Run] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def __call__(self, token_B: Tensor, written_B: Tensor, width: int) -> Tensor:
        """Logits (B, V) of the next tokens, overwritten by the next call.

        Args:
            token_B: last tokens of rows 0 … B − 1.
            written_B: tokens that each has written.
            width: own entries of the longest of them after this step.
        """
        count = len(token_B)
        self._token_R[:count] = token_B
        self._written_R[:count] = written_B
        self._written_R[count:] = 1  # rows that run along stay within their room
        shape = rounded_rows(count, self._rows), rounded_places(width, self._room)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(*shape)
        self._recorded[shape]()
        assert self._logits_RV is not None
        return self._logits_RV[:count]

    def _record(self, rows: int, width: int) -> Run:
        token_B, written_B = self._token_R[:rows], self._written_R[:rows]
        if self._logits_RV is None:
            like_BV = self._step(token_B, written_B, width)
            self._logits_RV = like_BV.new_zeros(self._rows, like_BV.shape[1])
        logits_BV = self._logits_RV[:rows]

        def run() -> None:
            # one buffer for all shapes: each graph's own result can then lie where another's did
            logits_BV.copy_(self._step(token_B, written_B, width))

        kept = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # a cast weight that is kept would not follow training
        try:
            return capture(run, self._pool)
        finally:
            torch.set_autocast_cache_enabled(kept)
