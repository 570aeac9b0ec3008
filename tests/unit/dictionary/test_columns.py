"""Columns of a layer from a real scan: what the nulls keep and what they lose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlae.dictionary.columns import DECOY, DECOY_OF, NULL, NULL_DECOY, REAL, ROTATED, drawn_neurons, read_layer
from nlae.dictionary.scan.decoys import token_counts

COUNT, SEED, LAYER = 24, 5, 1


@pytest.fixture(scope="module")
def data(scanned):
    counts = token_counts(scanned.corpus)
    return read_layer(scanned.scan, LAYER, counts, count=8, quantile=0.95, rotated=COUNT, seed=SEED)


@pytest.mark.parametrize("role", ["train", "select", "decide", "report"])
def test_a_null_is_some_neurons_permuted_anew(data, role):
    real_Mn = data.real.values[role][:, torch.from_numpy(data.drawn)]
    null_Mn, decoy_Mn = data.groups[NULL].values[role], data.groups[NULL_DECOY].values[role]
    rule_Mn = data.groups[DECOY].values[role][:, torch.from_numpy(data.drawn)]
    for turned_Mn in (null_Mn, decoy_Mn):
        assert torch.equal(turned_Mn.sort(0).values, real_Mn.sort(0).values)
        assert (turned_Mn != real_Mn).float().mean() > 0.8
    # independent of what set the rule, and of what it competes with
    assert (null_Mn != rule_Mn).float().mean() > 0.5
    assert (null_Mn != decoy_Mn).float().mean() > 0.5


def test_the_neurons_of_the_null_are_drawn_by_layer_and_seed(data):
    assert data.drawn.tolist() == drawn_neurons(192, COUNT, SEED, LAYER).tolist() == sorted(set(data.drawn.tolist()))
    assert len(data.drawn) == data.groups[NULL].n == data.groups[ROTATED].n == COUNT
    others = [drawn_neurons(192, COUNT, *key) for key in ((SEED, LAYER + 1), (SEED + 1, LAYER))]
    assert all(data.drawn.tolist() != other.tolist() for other in others)
    assert drawn_neurons(10, COUNT, SEED, LAYER).tolist() == list(range(10))


def test_every_group_that_is_counted_has_decoys_of_its_width(data):
    assert set(DECOY_OF) | set(DECOY_OF.values()) == set(data.groups)
    assert all(data.groups[name].n == data.groups[decoy].n for name, decoy in DECOY_OF.items())


def test_none_are_made_where_none_are_wanted(scanned):
    counts = token_counts(scanned.corpus)
    few = read_layer(scanned.scan, LAYER, counts, count=8, quantile=0.95, rotated=0, seed=SEED)
    assert set(few.groups) == {REAL, DECOY}
    assert few.drawn.dtype == np.int64
    assert not len(few.drawn)
