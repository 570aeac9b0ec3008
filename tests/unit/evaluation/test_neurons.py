"""Per-neuron R² from its definition, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlae.evaluation.per_neuron import Ridge, fit_neuron_shrink, linear_ceiling, neuron_r2
from nlae.functional.reconstruction import shrink


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_r2_is_one_for_truth_zero_for_the_mean_and_unknown_for_a_still_neuron():
    true_BN = draw(50, 4) + 3
    true_BN[:, 3] = 2.0
    mean_N = torch.tensor([3.0, 3.1, 2.9, 2.0])
    found_N = neuron_r2(true_BN, true_BN, mean_N)
    assert found_N[:3].tolist() == [1, 1, 1]
    assert found_N[3].isnan()
    assert neuron_r2(mean_N.expand(50, 4), true_BN, mean_N)[:3].tolist() == [0, 0, 0]
    pred_BN = true_BN + draw(50, 4, seed=1)
    by_hand = [
        1 - ((true_BN[:, n] - pred_BN[:, n]) ** 2).sum() / ((true_BN[:, n] - mean_N[n]) ** 2).sum() for n in range(3)
    ]
    assert neuron_r2(pred_BN, true_BN, mean_N)[:3].tolist() == pytest.approx([float(x) for x in by_hand])


def test_shrinking_helps_a_loud_guess_and_ends_at_the_mean_for_noise():
    true_BN, mean_N = draw(400, 3), torch.zeros(3)
    pred_BN = torch.stack([4 * true_BN[:, 0], draw(400, seed=2), -true_BN[:, 2]], 1)
    factor_N = fit_neuron_shrink(pred_BN, true_BN, mean_N)
    assert factor_N[0] == pytest.approx(0.25)
    assert factor_N[1] == pytest.approx(0, abs=0.1)
    assert factor_N[2] == 0
    r2_N = neuron_r2(shrink(pred_BN, mean_N, factor_N), true_BN, mean_N)
    assert r2_N.tolist() == pytest.approx([1, 0, 0], abs=0.05)
    assert neuron_r2(pred_BN, true_BN, mean_N)[0] < -5


def test_ridge_equals_its_normal_equations():
    x_BD, y_BN = draw(30, 5) + 2, draw(30, 3, seed=1) - 1
    centred, target = (x_BD - x_BD.mean(0)).numpy(), (y_BN - y_BN.mean(0)).numpy()
    gram = centred.T @ centred
    penalty = 0.3 * np.trace(gram) / 5
    wanted = y_BN.mean(0).numpy() + centred @ np.linalg.solve(gram + penalty * np.eye(5), centred.T @ target)
    np.testing.assert_allclose(Ridge(x_BD, y_BN).predict(x_BD, 0.3).numpy(), wanted)


def test_the_ceiling_is_what_the_projection_leaves():
    """Eight neurons seen through four numbers: those that the projection keeps are read, the lost one is not."""
    a_BN = draw(3000, 8)
    down_DN = torch.zeros(4, 8, dtype=torch.float64)
    down_DN[0, 0] = 2.0
    down_DN[1, 1] = down_DN[1, 2] = 1.0
    parts = [(part @ down_DN.T, part) for part in a_BN.split(1000)]
    ceiling_N, penalty_N = linear_ceiling(*parts)
    assert ceiling_N[0] == pytest.approx(1, abs=0.01)
    assert ceiling_N[1:3].tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    assert ceiling_N[3:].abs().max() < 0.02
    assert penalty_N[0] == 1e-4
