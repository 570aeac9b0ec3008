"""Intervals against theory, hand-counted resamples and pairing."""

from __future__ import annotations

import math

import pytest
import torch

from nlae.functional.bootstrap import ClusterBootstrap, wilson


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_resamples_draw_as_many_clusters_as_there_are() -> None:
    boot = ClusterBootstrap(["a", "b", "b", "c"], seed=0, resamples=50)
    assert boot.n_clusters == 3
    assert boot.weight_RC.sum(1).tolist() == [3.0] * 50


def test_same_seed_same_resamples_whatever_the_order_of_rows() -> None:
    names = [f"work {n}" for n in range(40)]
    one, two = ClusterBootstrap(names, seed=1), ClusterBootstrap(names[::-1], seed=1)
    error = noise(40).square()
    assert one.fve(error, torch.ones(40)) == two.fve(error.flip(0), torch.ones(40))
    assert one.fve(error, torch.ones(40)) != ClusterBootstrap(names, seed=2).fve(error, torch.ones(40))


def test_interval_of_a_mean_matches_the_normal_theory() -> None:
    values = noise(400)
    low, high = ClusterBootstrap(range(400), seed=0, resamples=4000).mean(values)
    mean, error = float(values.mean()), float(values.std()) / 20
    assert low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)


def test_clusters_widen_the_interval() -> None:
    # 40 works of ten equal rows carry the information of 40 rows, not 400
    values = noise(40).repeat_interleave(10)
    by_work = ClusterBootstrap([n // 10 for n in range(400)], seed=0).mean(values)
    by_row = ClusterBootstrap(range(400), seed=0).mean(values)
    assert by_work[1] - by_work[0] == pytest.approx(math.sqrt(10) * (by_row[1] - by_row[0]), rel=0.15)


def test_numerator_and_denominator_are_resampled_together() -> None:
    # error is always half the spread: the ratio has no sampling error however the spread varies
    spread = noise(60).abs() + 0.1
    low, high = ClusterBootstrap(range(60), seed=0).fve(spread / 2, spread)
    assert low == pytest.approx(0.5)
    assert high == pytest.approx(0.5)


def test_differences_are_paired() -> None:
    error = noise(60).square()
    boot = ClusterBootstrap(range(60), seed=0)
    low, high = boot.fve_gap(error, error + 0.25, torch.ones(60))
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.25)
    plain = boot.fve(error, torch.ones(60))
    assert plain[1] - plain[0] > 0.1


def test_fewer_than_thirty_clusters_give_no_interval() -> None:
    boot = ClusterBootstrap([n % 29 for n in range(290)], seed=0)
    assert boot.n_clusters == 29
    assert boot.mean(noise(290)) is None
    assert ClusterBootstrap([n % 30 for n in range(300)], seed=0).mean(noise(300)) is not None
    assert ClusterBootstrap([n % 2 for n in range(4)], seed=0, minimum=2).mean(noise(4)) is not None


def test_a_kept_subset_needs_thirty_clusters_too_and_ignores_the_rest() -> None:
    boot = ClusterBootstrap(range(60), seed=0)
    keep = torch.arange(60) < 29
    values = torch.where(torch.arange(60) < 30, torch.tensor(1.0), torch.tensor(100.0))
    assert boot.mean(values, keep) is None
    assert boot.mean(values, torch.arange(60) < 30) == pytest.approx((1.0, 1.0))


def test_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="one value for each"):
        ClusterBootstrap(range(40), seed=0).mean(torch.ones(39))


def test_wilson_by_hand() -> None:
    # 10 of 40: the textbook interval is 0.1419 … 0.4019
    low, high = wilson(10, 40)
    assert low == pytest.approx(0.1419, abs=1e-4)
    assert high == pytest.approx(0.4019, abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)


def test_a_ratio_of_sums_is_resampled_with_both_its_parts() -> None:
    bottom = noise(60).abs() + 0.1
    boot = ClusterBootstrap(range(60), seed=0)
    assert boot.ratio(0.25 * bottom, bottom) == pytest.approx((0.25, 0.25))
    # by hand: of two clusters, either both are drawn or one of them twice
    two = ClusterBootstrap(["a", "b"], seed=0, resamples=500, minimum=2)
    assert two.ratio(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0])) == pytest.approx((0.5, 0.75))
    kept = torch.tensor([True, True, False])
    whole = ClusterBootstrap(["a", "b", "b"], seed=0, resamples=500, minimum=2)
    assert whole.ratio(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([2.0, 4.0, 1.0]), kept) == (0.5, 0.75)


def test_a_ratio_leaves_out_resamples_without_a_denominator() -> None:
    two = ClusterBootstrap(["a", "b"], seed=0, resamples=500, minimum=2)
    low, high = two.ratio(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]))
    assert (low, high) == pytest.approx((0.5, 1.0))
    assert ClusterBootstrap(range(29), seed=0).ratio(torch.ones(29), torch.ones(29)) is None
