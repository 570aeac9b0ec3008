"""CUDA graphs: a recording of operators, run again on the same memory."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from pretend_cuda.ledger import RefusedError


class Recording:
    """Operators of the graph that is being captured; `steps` is None when there is none."""

    steps: list[Any] | None = None

    @classmethod
    def add(cls, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Note one operator that ran, with what it made."""
        if cls.steps is not None:
            cls.steps.append((func, args, kwargs, _tensors(out)))

    @classmethod
    def forbid(cls, what: str) -> None:
        """Refuse what may not happen while a graph is captured."""
        if cls.steps is not None:
            raise RefusedError(f"operation not permitted when stream is capturing: {what}")


class Graph:
    """`torch.cuda.CUDAGraph`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.steps: list[Any] = []

    def replay(self) -> None:
        """Each operator again; what it makes goes into the memory of what it made first."""
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, results in self.steps:
                for old, new in zip(results, _tensors(func(*args, **kwargs)), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def pool(self) -> tuple[int, int]:
        """Of its memory; there is but one."""
        return (0, 0)


class Capture:
    """`torch.cuda.graph`."""

    def __init__(self, graph: Graph, **_: Any) -> None:
        self.graph = graph

    def __enter__(self) -> None:
        Recording.steps = self.graph.steps

    def __exit__(self, *_: Any) -> None:
        Recording.steps = None


def _tensors(out: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
