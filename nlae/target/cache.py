"""A decoder that reads on from a key–value cache, and one cache read on in several directions.

Left out: forks of caches that are written in place, whose copies would share what is written. Linear attention and
state-space blocks have such states; for them nothing is cached, and everything is read again (`Reread`).
"""

from __future__ import annotations

import copy
import functools
import inspect
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from nlae.errors import NlaeError

# newest first: a decoder under a deprecation takes both, and its signature names the one that stays
CACHE_NAMES = ("cache", "past_key_values")

ATTENTION = {"full_attention", "sliding_attention", "chunked_attention", "attention"}


class Reread:
    """Stands in for a cache: keeps what was read, and each time reads all of it again.

    Slower by as much as the text is longer than its end, right for every causal decoder, and gradients reach through.

    Args:
        embedding: what embeds token ids.
    """

    def __init__(self, embedding: nn.Module) -> None:
        self.embedding = embedding
        self.seen_BTD: Tensor | None = None
        self.layers: list[Any] = []

    def read(
        self,
        decoder: nn.Module,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Any:
        """The output of `decoder` at the new tokens alone; padding must stand on the right, so places count up."""
        new_BTD = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        whole_BTD = new_BTD if self.seen_BTD is None else torch.cat([self.seen_BTD, new_BTD.to(self.seen_BTD)], 1)
        given = {} if attention_mask is None else {"attention_mask": attention_mask}
        output = decoder(inputs_embeds=whole_BTD, use_cache=False, **given)
        self.seen_BTD = whole_BTD
        output.last_hidden_state = output.last_hidden_state[:, -new_BTD.shape[1] :]
        return output

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        if self.seen_BTD is not None:
            self.seen_BTD = self.seen_BTD.repeat_interleave(repeats, 0)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        if self.seen_BTD is not None:
            self.seen_BTD = self.seen_BTD[indices]


AnyCache = TypeVar("AnyCache", bound=Cache | Reread)


def keeps_state(config: Any) -> bool:
    """Whether some block of the model keeps a running state beside, or in place of, keys and values."""
    config = config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ()
    if not ATTENTION.issuperset(kinds):
        return True
    layers = DynamicCache(config=config).layers
    return any(not isinstance(layer, DynamicLayer) or hasattr(layer, "conv_states") for layer in layers)


def new_cache(config: Any, embedding: nn.Module) -> DynamicCache | Reread:
    """An empty cache for a model with this config and this embedding of tokens."""
    return Reread(embedding) if keeps_state(config) else DynamicCache(config=config)


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
    if isinstance(cache, Reread):
        return cache.read(decoder, **inputs)
    kind: Any = type(decoder)  # mypy takes a class of modules for unhashable
    return decoder(**inputs, **{cache_name(kind): cache}, use_cache=True)


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
