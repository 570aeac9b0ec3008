"""Where entries fire and where they are strongest, against a plain loop; rotations and splits."""

import pytest
import torch

from nlae.dictionary.score.population import TRAINED, A, B, Population, rotation, splits

M, N, COUNT = 200, 7, 6


def values(seed=0):
    value_Mn = torch.randn(M, N, generator=torch.Generator().manual_seed(seed))
    value_Mn[:, 2] = value_Mn[:, 2].abs()  # never below 0: "-" has no contexts
    value_Mn[:, 3] = 0
    value_Mn[:, 4] = value_Mn[:, 4] * (torch.arange(M) < 3)  # few contexts
    return value_Mn


DOCUMENT_M = torch.arange(M) // 4
QUANTILE = 0.9
PINNED_A, PINNED_B = [5, 9, 14, 16, 17, 32, 35, 37], [0, 3, 36]  # of the first 40 neurons of block 3


@pytest.fixture(scope="module")
def population():
    return Population.of({"train": values().T, "test": values(1).T}, DOCUMENT_M, COUNT, QUANTILE)


def test_thresholds_are_quantiles_of_the_own_activations(population):
    train_Mn, test_Mn = values(), values(1)
    assert population.n == N
    for entry in range(2 * N):
        sign = 1 if entry < N else -1
        ordered = sorted((sign * train_Mn[:, entry % N]).tolist(), reverse=True)
        threshold = max(0.0, ordered[round((1 - QUANTILE) * M)])
        assert float(population.threshold_E[entry]) == pytest.approx(threshold)
        fires_M = sign * test_Mn[:, entry % N] > threshold
        assert torch.equal(population.fires("test", torch.tensor([entry]))[0], fires_M)
        assert int(population.fires("train", torch.tensor([entry])).sum()) <= round((1 - QUANTILE) * M)


def test_strongest_contexts_are_those_of_a_plain_loop(population):
    train_Mn = values()
    for entry in range(2 * N):
        value_M = (1 if entry < N else -1) * train_Mn[:, entry % N]
        seen, rows = set(), []
        for row in value_M.argsort(descending=True, stable=True).tolist():
            if value_M[row] > 0 and int(DOCUMENT_M[row]) not in seen and len(rows) < COUNT:
                seen.add(int(DOCUMENT_M[row]))
                rows.append(row)
        assert population.row_EK[entry].tolist() == rows + [-1] * (COUNT - len(rows))


def test_both_signs_stand_one_behind_the_other(population):
    entries = torch.tensor([1, N + 1])
    plus_M, minus_M = population.entries("train", entries)
    assert torch.equal(plus_M, -minus_M)
    assert not population.fires("train", entries).all(0).any()


def test_a_rotation_keeps_what_stands_in_a_row(population):
    def rotated(layer):
        return Population.of(population.values, DOCUMENT_M, COUNT, QUANTILE, rotation(N, 0, layer))

    turned = rotated(5)
    mixed_nM = {role: turned.columns(role, torch.arange(N)) for role in population.values}
    for role, value_nM in population.values.items():
        torch.testing.assert_close(mixed_nM[role].square().sum(0), value_nM.square().sum(0))
        assert not torch.allclose(mixed_nM[role], value_nM, atol=0.1)
    # the same mix on all panels: inner products of rows are kept across them
    mixed = mixed_nM["train"].T @ mixed_nM["test"]
    torch.testing.assert_close(mixed, population.values["train"].T @ population.values["test"], atol=1e-4, rtol=1e-4)
    again, other = (rotated(layer) for layer in (5, 6))
    assert torch.equal(again.columns("test", torch.arange(N)), mixed_nM["test"])
    assert not torch.allclose(other.columns("test", torch.arange(N)), mixed_nM["test"], atol=0.1)
    some = torch.tensor([N + 2, 3])
    torch.testing.assert_close(turned.entries("test", some), torch.stack([-mixed_nM["test"][2], mixed_nM["test"][3]]))


def test_splits_are_80_10_10_stable_and_of_neurons():
    split_n = splits(3, 8000)
    shares = [float((split_n == split).float().mean()) for split in (TRAINED, A, B)]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.015)
    assert torch.equal(splits(3, 100), split_n[:100])  # whatever the width
    assert not torch.equal(splits(4, 100), split_n[:100])
    # written down: a dictionary made before must be split alike
    assert torch.nonzero(split_n[:40] == A)[:, 0].tolist() == PINNED_A
    assert torch.nonzero(split_n[:40] == B)[:, 0].tolist() == PINNED_B
