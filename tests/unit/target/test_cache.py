"""Reading on from a cache, whatever a decoder calls it; and a fork of one, whose origin stays what it was."""

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from nlae.errors import NlaeError
from nlae.target.cache import cache_name, fork, read_on

APPEND = torch.ones(2, 1, 3, 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.update(APPEND, APPEND, 0),
        lambda cache: cache.update(APPEND, APPEND, 1),
        lambda cache: cache.batch_select_indices(torch.tensor([1])),
        lambda cache: cache.batch_repeat_interleave(3),
        lambda cache: setattr(cache.layers[0], "keys", APPEND),
    ],
    ids=["append", "a new layer", "pick", "repeat", "replace"],
)
def test_a_fork_goes_its_own_way(change):
    cache = DynamicCache()
    first = torch.randn(2, 1, 5, 4)
    cache.update(first, -first, 0)
    forked = fork(cache)
    assert forked.layers[0].keys is cache.layers[0].keys  # not a copy of what is large
    change(forked)
    assert len(cache.layers) == 1
    assert torch.equal(cache.layers[0].keys, first)
    assert torch.equal(cache.layers[0].values, -first)
    assert len(forked.layers) == 2 or not torch.equal(forked.layers[0].keys, first)


class Older(nn.Module):
    def forward(self, input_ids, past_key_values=None, use_cache=None):
        return input_ids, past_key_values, use_cache


class Newer(nn.Module):
    def forward(self, input_ids, cache=None, use_cache=None):
        return input_ids, cache, use_cache


class Deprecating(nn.Module):
    def forward(self, input_ids, past_key_values=None, cache=None, use_cache=None):
        assert past_key_values is None
        return input_ids, cache, use_cache


@pytest.mark.parametrize("kind", [Older, Newer, Deprecating])
def test_a_decoder_is_given_its_cache_under_the_name_it_knows(kind):
    cache = DynamicCache()
    assert read_on(kind(), cache, input_ids=7) == (7, cache, True)


def test_a_decoder_without_a_cache_is_refused_by_name():
    with pytest.raises(NlaeError, match="target Identity: its decoder takes no key–value cache"):
        cache_name(nn.Identity)
