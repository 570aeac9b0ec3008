"""Blocks that keep nothing for their backward but what enters them, and are run again there.

Two traps make the usual switch unusable here. What runs again must run as the same role, whichever is active by then;
and a block that appends to a key–value cache must find it as it was, not as it left it. So every block takes its
surroundings and its own part of the cache along. Caches that are written in place are left out: they are used without
gradients only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import Cache

from nlae.target.cache import fork

Enter = Callable[[], Callable[[], AbstractContextManager[None]] | None]


def recompute(block: nn.Module, index: int, enter: Enter) -> None:
    """Make `block` run again in its backward.

    Args:
        block: changes its class in place; names, weights and copies stay what they are.
        index: its number, which is that of its layer in a cache.
        enter: called at every forward; gives what makes the surroundings of this very forward again, or None to leave
            this forward alone.
    """
    kind: Any = type(block)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        surroundings = enter() if torch.is_grad_enabled() else None
        if surroundings is None:
            return kind.forward(self, *args, **kwargs)
        again = _Again(index, args, kwargs)

        def run(*moving: Any) -> Any:
            given, named = again.arguments(moving)
            with surroundings():
                return kind.forward(self, *given, **named)

        return checkpoint(run, *again.moving, use_reentrant=False, preserve_rng_state=False)

    block.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


class _Again:
    """The arguments of one forward: as given the first time, afterwards with the cache as it was before.

    Args:
        index: the cache's layer.
        args: of the forward.
        kwargs: of the forward.
    """

    def __init__(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caches = [value for value in (*args, *kwargs.values()) if isinstance(value, Cache)]
        self._first = caches[0] if caches else None
        # the cache itself must not be held: it holds what all blocks have written
        self._shell: Any = copy.copy(self._first)
        if self._shell is not None:
            layers = self._shell.layers
            # of other blocks' layers nothing but their places
            blank: list[Any] = [None] * min(index, len(layers))
            self._shell.layers = blank + [copy.copy(one) for one in layers[index:][:1]]
        self.moving = tuple(None if isinstance(value, Cache) else value for value in args)
        self._place = next((i for i, value in enumerate(args) if isinstance(value, Cache)), None)
        self._kwargs = {name: None if isinstance(value, Cache) else value for name, value in kwargs.items()}
        self._name = next((name for name, value in kwargs.items() if isinstance(value, Cache)), None)

    def arguments(self, moving: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named arguments of the next run."""
        # a cache without layers is false
        cache, self._first = self._before() if self._first is None else self._first, None
        given = tuple(cache if i == self._place else value for i, value in enumerate(moving))
        return given, self._kwargs if self._name is None else {**self._kwargs, self._name: cache}

    def _before(self) -> Any:
        return None if self._shell is None else fork(self._shell)
