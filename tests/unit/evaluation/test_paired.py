"""Paired comparisons of two evaluated folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from nlae.errors import NlaeError
from nlae.evaluation import compare


def folder(path: Path, error: np.ndarray, rows: np.ndarray | None = None, spread: float = 1.0) -> Path:
    path.mkdir()
    rows = np.arange(len(error)) if rows is None else rows
    table = {"row": rows, "source": [f"w{r // 2}" for r in rows], "spread": spread, "error": error, "early": rows < 0}
    pl.DataFrame(table).write_parquet(path / "rows.parquet")
    return path


def test_a_constant_advantage_has_no_sampling_error(tmp_path: Path) -> None:
    error = np.random.default_rng(0).random(100)
    found = compare(folder(tmp_path / "a", error), folder(tmp_path / "b", error + 0.2))
    assert found.delta == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.2, 0.2))
    assert found.a == pytest.approx(1 - error.mean())
    assert (found.rows, found.clusters) == (100, 50)
    assert found.metrics("rl")["rl_low"] == pytest.approx(0.2)


def test_rows_are_paired_by_number_whatever_their_order(tmp_path: Path) -> None:
    error = np.random.default_rng(0).random(100)
    order = np.random.default_rng(1).permutation(100)
    found = compare(folder(tmp_path / "a", error), folder(tmp_path / "b", error[order], order))
    assert found.delta == pytest.approx(0.0)
    assert found.high == pytest.approx(0.0)


def test_rows_of_only_one_are_left_out(tmp_path: Path) -> None:
    error = np.random.default_rng(0).random(100)
    found = compare(folder(tmp_path / "a", error), folder(tmp_path / "b", error[:80]))
    assert found.rows == 80
    assert found.delta == pytest.approx(0.0)


def test_too_few_works_give_no_interval(tmp_path: Path) -> None:
    error = np.random.default_rng(0).random(40)
    found = compare(folder(tmp_path / "a", error), folder(tmp_path / "b", error + 1))
    assert found.clusters == 20
    assert found.low is None
    assert set(found.metrics("x")) == {"x", "x_rows"}


def test_other_activations_missing_folders_and_columns_are_refused(tmp_path: Path) -> None:
    error = np.random.default_rng(0).random(80)
    a = folder(tmp_path / "a", error)
    with pytest.raises(NlaeError, match="other activations"):
        compare(a, folder(tmp_path / "b", error, spread=0.9))
    with pytest.raises(NlaeError, match="no row in common"):
        compare(a, folder(tmp_path / "c", error, np.arange(80) + 1000))
    with pytest.raises(NlaeError, match="not a finished evaluation"):
        compare(a, tmp_path)
    with pytest.raises(NlaeError, match="no column error_x"):
        compare(a, a, column_b="error_x")
