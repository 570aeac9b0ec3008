"""Statistics of a site: streamed, and equal to float64 over everything at once."""

import numpy as np
import pytest
import torch

from nlae.functional.scaling import SiteStatistics, StatisticsAccumulator, unit


def test_unit_vectors_by_hand():
    assert torch.allclose(unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert unit(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_streaming_equals_float64_at_once():
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((501, 7)) * rng.lognormal(0, 2, (501, 1)) + 0.5
    residual = rng.lognormal(0, 1, 501)
    stream = StatisticsAccumulator()
    for part in np.array_split(np.arange(501), 13):
        stream.add(torch.from_numpy(raw[part]), torch.from_numpy(residual[part]))
    found = stream.finish()
    direction = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.allclose(found.mean_D.numpy(), direction.mean(0), atol=1e-6)
    assert found.variance == pytest.approx(((direction - direction.mean(0)) ** 2).sum(1).mean(), rel=1e-6)
    assert found.alpha == pytest.approx(np.quantile(residual, 0.75), rel=1e-6)
    assert found.norm_median == pytest.approx(np.median(np.linalg.norm(raw, axis=1)), rel=1e-6)
    assert found.count == 501


def test_the_mean_is_not_normalised():
    stream = StatisticsAccumulator()
    stream.add(torch.tensor([[2.0, 0.0], [0.0, 5.0]]), torch.tensor([1.0, 1.0]))
    found = stream.finish()
    assert torch.allclose(found.mean_D, torch.tensor([0.5, 0.5]))
    assert found.variance == pytest.approx(0.5)
    assert torch.allclose(found.constant_D, torch.tensor([0.5, 0.5]).sqrt())


def test_alpha_is_of_the_residual_not_of_the_site():
    stream = StatisticsAccumulator()
    stream.add(torch.ones(4, 2), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert stream.finish().alpha == pytest.approx(3.25)


def test_a_file_gives_the_same_numbers_back(tmp_path):
    saved = SiteStatistics(torch.randn(5), 0.123456789, 222.5, 190.25, 12345)
    saved.save(tmp_path / "statistics.safetensors")
    loaded = SiteStatistics.load(tmp_path / "statistics.safetensors")
    assert torch.equal(loaded.mean_D, saved.mean_D)
    assert (loaded.variance, loaded.alpha, loaded.norm_median, loaded.count) == (0.123456789, 222.5, 190.25, 12345)


def test_no_rows_no_statistics():
    with pytest.raises(ValueError, match="no training rows"):
        StatisticsAccumulator().finish()
