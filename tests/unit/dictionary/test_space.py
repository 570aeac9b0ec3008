"""Whitened spaces against numpy, with and without shrinkage."""

import numpy as np
import pytest
import torch

from nlae.dictionary.words.space import Space

M, D = 4000, 6


@pytest.fixture(scope="module")
def inputs():
    source = torch.Generator().manual_seed(0)
    loud_D = torch.tensor([9.0, 3.0, 1.0, 1.0, 0.3, 0.1])
    return {role: torch.randn(rows, D, generator=source) * loud_D + 1 for role, rows in (("train", M), ("select", 50))}


def unit(value_MD):
    return value_MD / np.linalg.norm(value_MD, axis=-1, keepdims=True)


def test_contexts_are_whitened_by_training_works_alone(inputs):
    space, train_MD = Space(inputs), unit(inputs["train"].double().numpy())
    covariance_DD = np.cov(train_MD.T, bias=True)
    for shrinkage in (0.1, 0.5, 1.0):
        mixed_DD = (1 - shrinkage) * covariance_DD + shrinkage * np.trace(covariance_DD) / D * np.eye(D)
        values, vectors = np.linalg.eigh(mixed_DD)
        whitener_DD = vectors / np.sqrt(values) @ vectors.T
        for role in inputs:
            expected = (unit(inputs[role].double().numpy()) - train_MD.mean(0)) @ whitener_DD
            np.testing.assert_allclose(space.contexts(role, shrinkage).numpy(), expected, atol=2e-3)


def test_without_shrinkage_training_contexts_are_white(inputs):
    white_MD = Space(inputs).contexts("train", 0.0)
    torch.testing.assert_close(white_MD.T @ white_MD / M, torch.eye(D), atol=1e-3, rtol=0)


def test_a_direction_that_nothing_varies_along_is_not_blown_up():
    flat = {"train": torch.cat([torch.randn(100, 3), torch.zeros(100, 1)], 1)}
    assert Space(flat).contexts("train", 0.0).abs().max() < 1e3


def test_of_each_panel_the_last_shrinkage_is_kept(inputs):
    space = Space(inputs)
    first = space.contexts("select", 0.1)
    assert space.contexts("select", 0.1) is first
    other = space.contexts("select", 0.3)
    assert not torch.equal(first, other)
    assert torch.equal(space.contexts("select", 0.1), first)


def test_vectors_are_unit_means_of_the_contexts_there_are(inputs):
    space = Space(inputs)
    row_EK = torch.tensor([[3, 5, -1], [7, -1, -1], [-1, -1, -1]])
    found_ED, train_MD = space.vectors(space.sums(row_EK), 0.3), space.contexts("train", 0.3)
    torch.testing.assert_close(found_ED[0], torch.nn.functional.normalize(train_MD[3] + train_MD[5], dim=0))
    torch.testing.assert_close(found_ED[1], torch.nn.functional.normalize(train_MD[7], dim=0))
    assert not found_ED[2].any()
