"""One key–value cache read on in several directions.

Left out: caches that are written in place, whose copies would share what is written.
"""

from __future__ import annotations

import copy
from typing import TypeVar

from transformers import Cache

AnyCache = TypeVar("AnyCache", bound=Cache)


def fork(cache: AnyCache) -> AnyCache:
    """A cache that goes its own way from here: nothing appended to it, picked or repeated in it reaches `cache`.

    All of these put new tensors in place of a layer's old ones, so that shallow copies are enough.
    """
    forked = copy.copy(cache)
    forked.layers = [copy.copy(layer) for layer in cache.layers]
    return forked
