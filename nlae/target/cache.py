"""A decoder that reads on from a key–value cache, and one cache read on in several directions.

Left out: forks of caches that are written in place, whose copies would share what is written.
"""

from __future__ import annotations

import copy
import functools
import inspect
from typing import Any, TypeVar

from torch import nn
from transformers import Cache

from nlae.errors import NlaeError

# newest first: a decoder under a deprecation takes both, and its signature names the one that stays
CACHE_NAMES = ("cache", "past_key_values")

AnyCache = TypeVar("AnyCache", bound=Cache)


def fork(cache: AnyCache) -> AnyCache:
    """A cache that goes its own way from here: nothing appended to it, picked or repeated in it reaches `cache`.

    All of these put new tensors in place of a layer's old ones, so that shallow copies are enough.
    """
    forked = copy.copy(cache)
    forked.layers = [copy.copy(layer) for layer in cache.layers]
    return forked


def read_on(decoder: nn.Module, cache: Any, **inputs: Any) -> Any:
    """The output of `decoder` for tokens that follow those in `cache`, which grows.

    Args:
        decoder: a text decoder without its head.
        cache: a `Cache` of transformers, or what answers the same calls.
        **inputs: `input_ids` or `inputs_embeds`, and whatever else the decoder takes.

    Raises:
        NlaeError: the decoder takes no cache.
    """
    return decoder(**inputs, **{cache_name(type(decoder)): cache}, use_cache=True)


@functools.cache
def cache_name(kind: Any) -> str:
    """What decoders of the class `kind` call the cache: transformers 5.24 gave the argument another name.

    Raises:
        NlaeError: they take none.
    """
    taken = inspect.signature(kind.forward).parameters
    for name in CACHE_NAMES:
        if name in taken:
            return name
    raise NlaeError(
        f"target {kind.__name__}: its decoder takes no key–value cache ({' or '.join(CACHE_NAMES)}), which writing "
        "explanations needs; choose another target"
    )
