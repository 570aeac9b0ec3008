"""Two ways to flatter an FVE: counting early positions in, and measuring on what was trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from measured import evaluation
from nlae.activations import ActivationStore
from nlae.activations.datamodule import ActivationDataModule


def fit_nothing(autoencoder: Any, texts: Any, activations: Callable[[int], Tensor], **how: Any) -> Any:
    width = activations(0).shape[1]
    return lambda given: torch.eye(width)[:1].expand(len(given), -1)


def measure(pair: Any, store: ActivationStore, folder: Path) -> tuple[dict[str, float], pl.DataFrame]:
    quotes = {"quote_lengths": (1,), "updates": 1, "batch_size": 4, "lr": 0.1, "fit_reader": fit_nothing}
    changes = {"pca": {"components": (1,)}, "no_injection": {"samples": 1}, "frontier": quotes}
    metrics = evaluation(changes, max_rows=None, resamples=50)(pair, store, folder)
    return metrics, pl.read_parquet(folder / "rows.parquet")


def wrong_on(fakes: SimpleNamespace, store: ActivationStore, rows: set[int]) -> Any:
    """A pair that is perfect but on `rows`, where it says the opposite."""

    class Wrong(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def _one(self, text: str) -> Tensor:
            found: Tensor = super()._one(text)
            words = text.split()
            in_order = words[:1] == ["row"] and words[2:3] == ["noise"]  # else a control has rewritten it
            return -found if in_order and int(words[1]) in rows else found

    return Wrong(fakes.truth(), store.statistics)


def test_trap_13_early_positions_are_reported_apart_and_never_trained_on(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    early = set(store.split("test", early=True).row.tolist())
    assert early
    metrics, rows = measure(wrong_on(fakes, store, early), store, tmp_path)
    assert metrics["fve"] == pytest.approx(1.0, abs=1e-5), "what goes wrong early is not in the figure"
    assert metrics["early/fve"] < -2
    assert set(rows.filter(pl.col("early"))["row"].to_list()) == early
    late = set(store.split("test", early=False).row.tolist())
    metrics, _ = measure(wrong_on(fakes, store, late), store, tmp_path / "late")
    assert metrics["fve"] < -2
    assert metrics["early/fve"] == pytest.approx(1.0, abs=1e-5), "nor the other way round"

    data = ActivationDataModule(
        store=store.folder, view="rollout", seed=0, stage="x", max_updates=40, batch_size=16, validation_rows=None
    )
    data.setup()
    position = dict(zip(store.column("row").tolist(), store.column("position").tolist(), strict=True))
    trained = {int(row) for batch in data.train_dataloader() for row in batch.row_B}
    assert min(position[row] for row in trained) >= store.min_position
    (held,) = data.validation.values()
    assert min(held.position) >= store.min_position


def test_trap_19_measured_on_test_rows_that_nothing_was_fitted_to(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    split = {name: set(store.split(name).row.tolist()) for name in ("train", "val", "test")}
    assert not split["train"] & split["test"]
    assert not split["val"] & split["test"]
    # perfect on all that it could have been trained or tuned on, wrong on what is held out
    metrics, rows = measure(wrong_on(fakes, store, split["test"]), store, tmp_path)
    assert metrics["fve"] < -2
    assert set(rows["row"].to_list()) <= split["test"]
    late = store.split("test", early=False).row.tolist()
    assert set(rows.filter(~pl.col("early"))["row"].to_list()) == set(late), "all of them, not the first few"
    # and a pair that fails on the training rows alone is not worse for it
    metrics, _ = measure(wrong_on(fakes, store, split["train"]), store, tmp_path / "train")
    assert metrics["fve"] == pytest.approx(1.0, abs=1e-5)
    train = store.split("train", early=False)
    assert np.allclose(store.statistics.mean_D.numpy(), _unit_mean(train.all()), atol=1e-5)


def _unit_mean(raw_ND: Tensor) -> np.ndarray:
    return (raw_ND / raw_ND.norm(dim=-1, keepdim=True)).mean(0).numpy()
