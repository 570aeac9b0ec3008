"""A forked cache: whatever is done to it, the one it came from stays what it was."""

import pytest
import torch
from transformers import DynamicCache

from nlae.target.cache import fork

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
