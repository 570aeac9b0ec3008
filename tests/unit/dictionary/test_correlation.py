"""How far words tell how strongly an entry fires, against scipy and numpy."""

import numpy as np
import pytest
import torch
from scipy import stats

from nlae.dictionary.score.correlation import linear_r2, r2, spearman


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rank_correlation_is_scipys():
    said_EM, true_EM = drawn(0, 6, 80), drawn(1, 6, 80)
    said_EM[2] = true_EM[2].exp()
    found = spearman(said_EM, true_EM)
    for entry in range(6):
        assert float(found[entry]) == pytest.approx(stats.spearmanr(said_EM[entry], true_EM[entry])[0], abs=1e-5)
    assert float(found[2]) == pytest.approx(1)


def test_what_is_constant_has_no_rank_correlation():
    varies, constant = drawn(2, 1, 50), torch.zeros(1, 50)
    assert spearman(constant, varies).isnan().all()
    assert spearman(varies, constant).isnan().all()


def test_scale_and_shift_come_from_other_works():
    said_EM, said_select_EM = drawn(3, 4, 200), drawn(4, 4, 150)
    true_EM, true_select_EM = 3 * said_EM + 1 + drawn(5, 4, 200), 3 * said_select_EM + 1 + drawn(6, 4, 150)
    found = r2(said_EM, true_EM, said_select_EM, true_select_EM)
    for entry in range(4):
        slope, shift = np.polyfit(said_select_EM[entry], true_select_EM[entry], 1)
        error = (true_EM[entry] - slope * said_EM[entry] - shift).square().sum()
        spread = (true_EM[entry] - true_select_EM[entry].mean()).square().sum()
        assert float(found[entry]) == pytest.approx(float(1 - error / spread), abs=1e-4)
    assert r2(said_EM, torch.zeros(4, 200), said_select_EM, torch.zeros(4, 150)).isnan().all()


def test_the_best_linear_reading_finds_what_is_linear():
    train_MD, test_MD, map_Dn = drawn(7, 400, 10), drawn(8, 300, 10), drawn(9, 10, 3)
    noise = torch.tensor([0.0, 1.0, 100.0])
    train_Mn, test_Mn = (x_MD @ map_Dn + noise * drawn(i, len(x_MD), 3) for i, x_MD in ((10, train_MD), (11, test_MD)))
    found = linear_r2(train_MD, train_Mn, test_MD, test_Mn)
    assert float(found[0]) == pytest.approx(1, abs=1e-3)
    signal = float((test_MD @ map_Dn)[:, 1].var())
    assert float(found[1]) == pytest.approx(signal / (signal + 1), abs=0.05)
    assert abs(float(found[2])) < 0.1
