"""Ranks against scipy, and AUROC against its definition."""

import numpy as np
import pytest
import torch
from scipy import stats

from nlae.dictionary.score.correlation import auroc_own, average_ranks

E, M = 7, 90


def tied():
    value_EM = torch.randint(0, 9, (E, M), generator=torch.Generator().manual_seed(0)).float()
    value_EM[0] = 3
    value_EM[1] = torch.randn(M, generator=torch.Generator().manual_seed(1))
    return value_EM


def test_ranks_are_scipys():
    np.testing.assert_array_equal(average_ranks(tied()).numpy(), stats.rankdata(tied().numpy(), axis=-1))


def test_auroc_is_what_it_is_defined_as(naive_auroc):
    label_EM = torch.rand(E, M, generator=torch.Generator().manual_seed(2)) < 0.3
    area_E = auroc_own(average_ranks(tied()), label_EM)
    for entry in range(E):
        assert float(area_E[entry]) == pytest.approx(naive_auroc(tied()[entry], label_EM[entry]), abs=1e-5)
    assert float(area_E[0]) == 0.5


def test_too_few_of_either_kind_give_nothing():
    label_EM = torch.zeros(E, M, dtype=torch.bool)
    label_EM[1, :4], label_EM[2, :5], label_EM[3] = True, True, True
    known = ~auroc_own(average_ranks(tied()), label_EM, min_active=5).isnan()
    assert known.tolist() == [False, False, True, *[False] * 4]
