"""Ranks, AUROC and Spearman against loops that follow the definitions word by word."""

import pytest
import torch

from nlae.dictionary.score.ranks import (
    auroc,
    auroc_by_kind,
    auroc_own,
    average_ranks,
    spearman,
    spearman_within,
    weighted_ranks,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rough(*shape, seed=0):
    """Few distinct values, hence many ties."""
    return (2 * draw(*shape, seed=seed)).round()


def naive_ranks(values):
    values = values.tolist()
    return [sum(b < a for b in values) + (sum(b == a for b in values) + 1) / 2 for a in values]


def naive_spearman(left, right):
    a, b = torch.tensor(naive_ranks(left)), torch.tensor(naive_ranks(right))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("make", [draw, rough], ids=["distinct", "ties"])
def test_ranks_average_ties(make):
    value_CM = make(5, 40)
    torch.testing.assert_close(average_ranks(value_CM), torch.tensor([naive_ranks(row) for row in value_CM]))


def test_ranks_of_constants_are_the_middle():
    torch.testing.assert_close(average_ranks(torch.zeros(1, 5)), torch.full((1, 5), 3.0))


def test_weighted_ranks_equal_ranks_written_out():
    value_CT, weight_T = rough(4, 9), torch.tensor([1, 3, 2, 5, 1, 1, 4, 2, 2])
    spread = value_CT.repeat_interleave(weight_T, dim=1)
    kind = torch.arange(9).repeat_interleave(weight_T)
    torch.testing.assert_close(weighted_ranks(value_CT, weight_T)[:, kind], average_ranks(spread))


@pytest.mark.parametrize("make", [draw, rough], ids=["distinct", "ties"])
def test_auroc_of_every_prediction_for_every_entry(make, naive_auroc):
    prediction_CM, label_EM = make(4, 30), draw(6, 30, seed=1) > 0.8
    found_EC = auroc(average_ranks(prediction_CM), label_EM)
    wanted_EC = torch.tensor([[naive_auroc(p, y) for p in prediction_CM] for y in label_EM])
    torch.testing.assert_close(found_EC, wanted_EC, equal_nan=True)


def test_auroc_needs_active_and_inactive_contexts():
    label_EM = torch.zeros(3, 10, dtype=torch.bool)
    label_EM[1, :4] = True
    label_EM[2] = True
    found_EC = auroc(average_ranks(draw(1, 10)), label_EM, min_active=4)
    assert found_EC[:, 0].isnan().tolist() == [True, False, True]
    assert auroc(average_ranks(draw(1, 10)), label_EM, min_active=5)[1].isnan().all()


def test_auroc_of_own_predictions(naive_auroc):
    prediction_EM, label_EM = rough(5, 25), draw(5, 25, seed=2) > 0.5
    wanted_E = torch.tensor([naive_auroc(p, y) for p, y in zip(prediction_EM, label_EM, strict=True)])
    torch.testing.assert_close(auroc_own(average_ranks(prediction_EM), label_EM), wanted_E)


def test_auroc_by_kind_equals_auroc_of_contexts(naive_auroc):
    kind_M = torch.randint(6, (50,), generator=torch.Generator().manual_seed(3))
    value_ET, label_EM = rough(4, 6), draw(4, 50, seed=4) > 0.7
    weight_T = torch.bincount(kind_M, minlength=6)
    active_ET = label_EM.float() @ torch.nn.functional.one_hot(kind_M, 6).float()
    wanted_E = torch.tensor([naive_auroc(v[kind_M], y) for v, y in zip(value_ET, label_EM, strict=True)])
    torch.testing.assert_close(auroc_by_kind(value_ET, weight_T, active_ET), wanted_E)


def test_spearman_against_the_definition():
    value_EM, prediction_CM = rough(3, 20), rough(4, 20, seed=1)
    found_EC = spearman(average_ranks(value_EM), average_ranks(prediction_CM))
    wanted_EC = torch.tensor([[naive_spearman(v, p) for p in prediction_CM] for v in value_EM])
    torch.testing.assert_close(found_EC, wanted_EC)


def test_spearman_of_a_constant_is_unknown():
    assert spearman(average_ranks(torch.ones(1, 6)), average_ranks(draw(1, 6))).isnan().all()


def test_spearman_within_a_stratum():
    value_EM, prediction_EM, keep_EM = rough(5, 30), rough(5, 30, seed=1), draw(5, 30, seed=2) > 0.2
    keep_EM[4] = False
    found_E = spearman_within(value_EM, prediction_EM, keep_EM)
    rows = zip(value_EM[:4], prediction_EM[:4], keep_EM[:4], strict=True)
    torch.testing.assert_close(found_E[:4], torch.tensor([naive_spearman(v[k], p[k]) for v, p, k in rows]))
    assert found_E[4].isnan()
