"""Every row once, longest first, within the budget."""

import itertools

import numpy as np
import pytest

from nlae.functional.batching import token_batches


@pytest.mark.parametrize("budget", [1, 40, 128, 10_000])
def test_batches_are_complete_sorted_and_within_the_budget(budget):
    lengths = np.random.default_rng(0).integers(1, 50, 70).tolist()
    batches = list(token_batches(lengths, budget))
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(70))
    assert (np.diff([lengths[index] for index in order]) <= 0).all()
    assert all(len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget for batch in batches)
    # no batch could have taken the next row too
    for batch, following in itertools.pairwise(batches):
        assert (len(batch) + 1) * lengths[batch[0]] > budget
        assert lengths[following[0]] <= lengths[batch[-1]]


def test_ties_keep_their_order_and_nothing_gives_nothing():
    assert list(token_batches([3, 5, 3, 5], 6)) == [[1], [3], [0, 2]]
    assert list(token_batches([], 6)) == []
