"""Hand-computed values and float64 references for nlae.functional.reconstruction."""

from __future__ import annotations

import math

import pytest
import torch

from nlae.functional.reconstruction import (
    fit_scale,
    fit_shrink,
    fve,
    fve_calibrated,
    per_token_fve,
    rank,
    raw_r2,
    shuffled_cosine,
    spread,
    squared_error,
    unit,
)

EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
PAIR = torch.stack([EAST, NORTH])


def clouds(n: int = 400, d: int = 16, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors around a common direction, and the mean of them."""
    generator = torch.Generator().manual_seed(seed)
    x = unit(torch.randn(n, d, generator=generator) + 2 * torch.eye(d)[0])
    return x, x.mean(0)


def test_unit_of_three_four() -> None:
    assert torch.allclose(unit(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))


def test_unit_keeps_a_zero_row() -> None:
    assert torch.equal(unit(torch.zeros(1, 3)), torch.zeros(1, 3))


def test_fve_by_hand() -> None:
    # mean (0.5, 0.5): each spread 0.5, sum 1; the second prediction is off by (1, -1): error 2
    mean = torch.tensor([0.5, 0.5])
    assert fve(PAIR, PAIR, mean) == 1.0
    assert fve(torch.stack([EAST, EAST]), PAIR, mean) == pytest.approx(1 - 2 / 1)


def test_fve_uses_the_unnormalised_mean() -> None:
    # around mu/|mu| the spread would be 2 * (2 - sqrt 2) instead of 1
    assert float(spread(PAIR, torch.tensor([0.5, 0.5])).sum()) == pytest.approx(1.0)


def test_unit_constant_scores_below_zero_and_shuffled_about_minus_one() -> None:
    x, mean = clouds()
    constant = unit(mean[None]).expand_as(x)
    m = float(mean.double().norm())
    # mean ||h - u||^2 = 2 - 2m and the denominator is 1 - m^2
    assert fve(constant, x, mean) == pytest.approx(1 - (2 - 2 * m) / (1 - m * m), abs=1e-5)
    assert fve(constant, x, mean) < 0
    assert fve(x.roll(1, 0), x, mean) == pytest.approx(-1.0, abs=0.15)


def test_fve_against_float64_reference() -> None:
    x, mean = clouds(seed=1)
    y = unit(x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2)))
    want = 1 - sum(
        math.fsum((a - b) ** 2 for a, b in zip(p, t, strict=True)) for p, t in zip(y.tolist(), x.tolist(), strict=True)
    ) / sum(math.fsum((a - b) ** 2 for a, b in zip(t, mean.tolist(), strict=True)) for t in x.tolist())
    assert fve(y, x, mean) == pytest.approx(want, abs=1e-10)


def test_fve_refuses_raw_vectors_and_wrong_shapes() -> None:
    with pytest.raises(ValueError, match="unit-norm"):
        fve(2 * PAIR, PAIR, torch.zeros(2))
    with pytest.raises(ValueError, match="unit-norm"):
        fve(PAIR, 2 * PAIR, torch.zeros(2))
    with pytest.raises(ValueError, match="one shape"):
        fve(PAIR[:1], PAIR, torch.zeros(2))
    with pytest.raises(ValueError, match="unit-norm"):
        fve(torch.full((2, 2), float("nan")), PAIR, torch.zeros(2))


def test_per_token_fve_by_hand_and_its_mean() -> None:
    values = per_token_fve(torch.stack([EAST, EAST]), PAIR, variance=0.5)
    assert values.tolist() == pytest.approx([1.0, -3.0])
    x, mean = clouds(seed=3)
    y = x.roll(1, 0)
    # with the rows' own mean spread as the denominator the tokens average to the FVE
    assert float(per_token_fve(y, x, float(spread(x, mean).mean())).mean()) == pytest.approx(fve(y, x, mean))


def test_shrink_factor_by_hand() -> None:
    mean = torch.zeros(2)
    half = torch.tensor([[0.5, math.sqrt(0.75)]])
    # least squares of s * half against EAST is their inner product
    factor = fit_shrink(half, EAST[None], mean)
    assert factor == pytest.approx(0.5)
    assert fve_calibrated(half, EAST[None], mean, factor) == pytest.approx(1 - 0.75)


def test_shrink_factor_is_the_best_of_a_grid() -> None:
    x, mean = clouds(seed=4)
    y = unit(x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5)))
    best = fve_calibrated(y, x, mean, fit_shrink(y, x, mean))
    assert all(best >= fve_calibrated(y, x, mean, s / 50) - 1e-12 for s in range(51))


def test_calibration_turns_guessing_into_zero_and_leaves_perfection() -> None:
    x, mean = clouds(seed=6)
    shuffled = x.roll(1, 0)
    assert fve_calibrated(shuffled, x, mean, fit_shrink(shuffled, x, mean)) == pytest.approx(0.0, abs=0.02)
    assert fve_calibrated(x, x, mean, fit_shrink(x, x, mean)) == pytest.approx(1.0)


def test_shrink_factor_stays_within_zero_and_one() -> None:
    x, mean = clouds(seed=7)
    assert fit_shrink(-x, x, torch.zeros(16)) == 0.0
    assert fit_shrink(mean.expand(4, -1), x[:4], mean) == 0.0


def test_rank_by_hand() -> None:
    others = torch.stack([EAST, -EAST, unit(torch.tensor([[1.0, 1.0]]))[0]])
    assert rank(NORTH[None], NORTH[None], others).tolist() == [1.0]
    # EAST reconstructs NORTH: EAST and the diagonal are closer, -EAST is not
    assert rank(EAST[None], NORTH[None], others).tolist() == [3.0]
    # a tie counts half
    assert rank(NORTH[None], NORTH[None], NORTH[None]).tolist() == [1.5]
    assert rank(EAST[None], NORTH[None], others[None]).tolist() == [3.0]


def test_raw_r2_by_hand() -> None:
    raw = torch.tensor([[4.0, 0.0], [0.0, 2.0]])
    mean = torch.tensor([2.0, 1.0])
    # exact norms: perfect; one scalar: the least-squares c is (4 + 2) / 2 = 3, error 1 + 1, total 5 + 5
    assert raw_r2(PAIR, raw, mean, torch.tensor([4.0, 2.0])) == 1.0
    assert fit_scale(PAIR, raw) == pytest.approx(3.0)
    assert raw_r2(PAIR, raw, mean, 3.0) == pytest.approx(0.8)


def test_squared_error_is_double() -> None:
    assert squared_error(PAIR, PAIR.flip(0)).dtype == torch.float64


def test_shuffled_cosine_is_the_mean_over_every_other_group() -> None:
    true_ND, _ = clouds(6, 8, 1)
    pred_ND, _ = clouds(6, 8, 2)
    pred_ND[4] = torch.nan
    group_N = torch.tensor([7, 7, 2, 9, 9, 2])
    found_N = shuffled_cosine(pred_ND, true_ND, group_N)
    for i in range(6):
        others = [j for j in range(6) if group_N[j] != group_N[i] and j != 4]
        assert found_N[i] == pytest.approx(sum(float(true_ND[i] @ pred_ND[j]) for j in others) / len(others), abs=1e-6)
    assert shuffled_cosine(PAIR, PAIR, torch.tensor([3, 3])).isnan().all()
