"""Hand-computed values and float64 references for nlae.functional.reconstruction."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest
import torch

import nlae
from nlae.evaluation import per_neuron
from nlae.evaluation.fidelity import Scoreboard
from nlae.evaluation.per_neuron import neuron_r2
from nlae.functional import bootstrap, reconstruction
from nlae.functional.reconstruction import (
    fit_scale,
    fit_shrink,
    fve,
    per_token_fve,
    rank,
    shrink,
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


def fve_of(pred: torch.Tensor, true: torch.Tensor, mean: torch.Tensor) -> float:
    return fve(squared_error(pred, true), spread(true, mean))


def calibrated(pred: torch.Tensor, true: torch.Tensor, mean: torch.Tensor, factor: float) -> float:
    return fve_of(shrink(pred, mean, factor), true, mean)


def test_unit_of_three_four() -> None:
    assert torch.allclose(unit(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))


def test_unit_keeps_a_zero_row() -> None:
    assert torch.equal(unit(torch.zeros(1, 3)), torch.zeros(1, 3))


def test_fve_by_hand() -> None:
    # mean (0.5, 0.5): each spread 0.5, sum 1; the second prediction is off by (1, -1): error 2
    mean = torch.tensor([0.5, 0.5])
    assert fve_of(PAIR, PAIR, mean) == 1.0
    assert fve_of(torch.stack([EAST, EAST]), PAIR, mean) == pytest.approx(1 - 2 / 1)


def test_fve_uses_the_unnormalised_mean() -> None:
    # around mu/|mu| the spread would be 2 * (2 - sqrt 2) instead of 1
    assert float(spread(PAIR, torch.tensor([0.5, 0.5])).sum()) == pytest.approx(1.0)


def test_unit_constant_scores_below_zero_and_shuffled_about_minus_one() -> None:
    x, mean = clouds()
    constant = unit(mean[None]).expand_as(x)
    m = float(mean.double().norm())
    # mean ||h - u||^2 = 2 - 2m and the denominator is 1 - m^2
    assert fve_of(constant, x, mean) == pytest.approx(1 - (2 - 2 * m) / (1 - m * m), abs=1e-5)
    assert fve_of(constant, x, mean) < 0
    assert fve_of(x.roll(1, 0), x, mean) == pytest.approx(-1.0, abs=0.15)


def test_fve_against_float64_reference() -> None:
    x, mean = clouds(seed=1)
    y = unit(x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2)))
    want = 1 - sum(
        math.fsum((a - b) ** 2 for a, b in zip(p, t, strict=True)) for p, t in zip(y.tolist(), x.tolist(), strict=True)
    ) / sum(math.fsum((a - b) ** 2 for a, b in zip(t, mean.tolist(), strict=True)) for t in x.tolist())
    assert fve_of(y, x, mean) == pytest.approx(want, abs=1e-10)


def test_errors_and_spreads_refuse_raw_vectors_and_wrong_shapes() -> None:
    with pytest.raises(ValueError, match="unit-norm"):
        spread(2 * PAIR, torch.zeros(2))
    with pytest.raises(ValueError, match="one shape"):
        squared_error(PAIR[:1], PAIR)
    with pytest.raises(ValueError, match="not finite"):
        squared_error(torch.full((2, 2), float("nan")), PAIR)
    with pytest.raises(ValueError, match="one shape"):
        fve(torch.ones(1), torch.ones(2))
    with pytest.raises(ValueError, match="equals the mean"):
        fve(torch.ones(2), torch.zeros(2))
    with pytest.raises(ValueError, match="positive"):
        per_token_fve(torch.ones(2), 0.0)


def test_per_token_fve_by_hand_and_its_mean() -> None:
    values = per_token_fve(squared_error(torch.stack([EAST, EAST]), PAIR), variance=0.5)
    assert values.tolist() == pytest.approx([1.0, -3.0])
    x, mean = clouds(seed=3)
    y = x.roll(1, 0)
    # with the rows' own mean spread as the denominator the tokens average to the FVE
    of_tokens = per_token_fve(squared_error(y, x), float(spread(x, mean).mean()))
    assert float(of_tokens.mean()) == pytest.approx(fve_of(y, x, mean))


def test_shrink_factor_by_hand() -> None:
    mean = torch.zeros(2)
    half = torch.tensor([[0.5, math.sqrt(0.75)]])
    # least squares of s * half against EAST is their inner product
    factor = fit_shrink(half, EAST[None], mean)
    assert factor == pytest.approx(0.5)
    assert calibrated(half, EAST[None], mean, factor) == pytest.approx(1 - 0.75)


def test_shrink_factor_is_the_best_of_a_grid() -> None:
    x, mean = clouds(seed=4)
    y = unit(x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5)))
    best = calibrated(y, x, mean, fit_shrink(y, x, mean))
    assert all(best >= calibrated(y, x, mean, s / 50) - 1e-12 for s in range(51))


def test_calibration_turns_guessing_into_zero_and_leaves_perfection() -> None:
    x, mean = clouds(seed=6)
    shuffled = x.roll(1, 0)
    assert calibrated(shuffled, x, mean, fit_shrink(shuffled, x, mean)) == pytest.approx(0.0, abs=0.02)
    assert calibrated(x, x, mean, fit_shrink(x, x, mean)) == pytest.approx(1.0)


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


def test_scale_by_hand() -> None:
    # the least-squares c is (4 + 2) / 2
    assert fit_scale(PAIR, torch.tensor([[4.0, 0.0], [0.0, 2.0]])) == pytest.approx(3.0)


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


def ratios(path: Path) -> list[str]:
    """Places of `1 - a / b` in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Sub)
            and isinstance(node.left, ast.Constant)
            and node.left.value == 1
            and any(isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Div) for inner in ast.walk(node.right))
        ):
            found.append(f"{path.name}: {ast.unparse(node)}")
    return found


def test_the_ratio_is_written_once() -> None:
    root = Path(nlae.__file__).parent
    places = {place for path in sorted(root.rglob("*.py")) for place in ratios(path)}
    figures = {place for place in places if re.search("error|spread|total|variance", place)}
    assert figures == {"reconstruction.py: 1 - error / total"}


def test_every_figure_goes_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x, mean = clouds(40)
    y = x.roll(1, 0)

    def figures() -> list[float]:
        board = Scoreboard(x, mean, range(40), seed=0, resamples=50)
        every_N = torch.ones(40, dtype=torch.bool)
        board.add("fve", board.error(y), every_N)
        board.add_ratio("raw_r2", board.error(y), torch.ones(40), every_N)
        return [
            *board.metrics.values(),
            float(per_token_fve(board.error(y), 0.5)[0]),
            float(neuron_r2(y, x, mean)[0]),
        ]

    before = figures()
    assert len(before) == 8
    for module in (reconstruction, bootstrap, per_neuron):
        monkeypatch.setattr(module, "explained", lambda error, total: 3 - error / total)
    assert figures() == pytest.approx([value + 2 for value in before])
