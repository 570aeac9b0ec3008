"""Decoys keep the token and the marginal distribution, and nothing stays in its place."""

import numpy as np
import pytest
import torch

from nlae.dictionary.scan import decoy_panel, token_counts
from nlae.dictionary.scan.decoys import cycles, frequency_rank, strata


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def permuted(token, rank, generator):
    return cycles(strata(token, rank), 1, generator)[0]


def test_activations_move_within_their_token_and_lone_tokens_within_their_frequency():
    token = np.asarray([7, 3, 7, 3, 3, 50, 51, 60, 61, 7])
    rank = np.where(token < 50, 9, np.where(token < 60, 4, 2))
    for seed in range(20):
        index = permuted(token, rank, draw(seed))
        assert sorted(index.tolist()) == list(range(10))
        assert (index != np.arange(10)).all()
        repeated = token < 50
        assert (token[index][repeated] == token[repeated]).all()
        assert (rank[index] == rank).all()


def test_every_order_within_a_stratum_comes_up():
    token = np.zeros(3, dtype=np.int64)
    found = {tuple(permuted(token, token, draw(seed)).tolist()) for seed in range(40)}
    assert found == {(1, 2, 0), (2, 0, 1)}


@pytest.mark.parametrize(
    ("token", "rank"),
    [
        ([5, 6, 7, 8, 9], [1, 2, 2, 3, 3]),  # a lone class at the start
        ([5, 6, 7, 8, 9], [1, 1, 2, 2, 3]),  # and at the end
        ([5, 6], [1, 9]),
        ([5, 5, 6], [3, 3, 1]),  # nothing of its kind: with the most frequent token
    ],
)
def test_no_position_is_left_alone(token, rank):
    index = permuted(np.asarray(token), np.asarray(rank), draw())
    assert sorted(index.tolist()) == list(range(len(token)))
    assert (index != np.arange(len(token))).all()


def test_one_or_no_position_is_no_error():
    assert permuted(np.asarray([4]), np.asarray([1]), draw()).tolist() == [0]
    assert permuted(np.zeros(0, np.int64), np.zeros(0, np.int64), draw()).tolist() == []


def test_cycles_differ_from_one_another_and_repeat_by_seed():
    stratum = np.repeat(np.arange(5), 20)
    first, again = cycles(stratum, 3, draw()), cycles(stratum, 3, draw())
    assert (first == again).all()
    assert (first[0] != first[1]).any()


def test_a_panel_of_decoys_keeps_marginals_tokens_and_nothing_else():
    rng = np.random.default_rng(0)
    token = rng.integers(0, 30, 600)
    by_token = torch.randn(30, 300, generator=draw(1))[token]
    rest = torch.randn(600, 300, generator=draw(2))
    neurons = by_token + rest
    decoys = decoy_panel(neurons, token, np.bincount(token), seed=3)
    assert torch.equal(decoys.sort(0).values, neurons.sort(0).values)
    for each in (0, 17):
        mine = token == each
        assert torch.equal(decoys[mine].sort(0).values, neurons[mine].sort(0).values)

    def correlation(a, b):
        a, b = (a - a.mean(0)) / a.std(0), (b - b.mean(0)) / b.std(0)
        return (a * b).mean(0)

    assert correlation(decoys - by_token, rest).abs().mean() < 0.06  # the context's share is gone
    assert correlation(decoys, by_token).mean() > 0.6  # the token's is not
    # columns are permuted apart from each other
    assert not torch.equal(
        (decoys[:, 0, None] == neurons[:, 0]).int().argmax(1), (decoys[:, 1, None] == neurons[:, 1]).int().argmax(1)
    )
    assert torch.equal(decoys, decoy_panel(neurons, token, np.bincount(token), seed=3))
    assert not torch.equal(decoys, decoy_panel(neurons, token, np.bincount(token), seed=4))


def test_strata_and_ranks():
    counts = np.asarray([0, 1, 2, 3, 4, 1000])
    assert frequency_rank(np.arange(6), counts).tolist() == [0, 0, 1, 1, 2, 9]
    stratum = strata(np.asarray([1, 1, 2, 3]), np.asarray([0, 0, 1, 1]))
    assert stratum[0] == stratum[1] != stratum[2] == stratum[3]


def test_tokens_are_counted_over_the_whole_corpus(invented):
    counts = token_counts(invented)
    expected = np.bincount(np.concatenate([invented.input_ids(d) for d in range(len(invented))]))
    assert (counts == expected).all()
