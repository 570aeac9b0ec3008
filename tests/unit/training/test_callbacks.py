"""Callbacks in a real fit of a one-parameter module that keeps an objective's `update`, `metrics`, `skipped`."""

import csv
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from nlae.errors import NlaeError
from nlae.tracking import Run
from nlae.training.callbacks import HistoryWriter, NonFiniteWatch, ProgressBar, SamplerGapWatch


class Counting(pl.LightningModule):
    """Counts updates as an objective does; every update at or after `broken_from` throws its step away."""

    name = "counting"

    def __init__(self, start: int = 0, broken_from: int = 10**9) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.update, self.skipped, self.broken_from = start, 0, broken_from
        self.metrics: dict[str, float] = {}

    def on_train_start(self) -> None:
        if self.update == 0:
            self.metrics = {"val/fve": -1.0}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.update += 1
        self.skipped += self.update >= self.broken_from
        self.metrics = {"loss": 1 / self.update}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Recorder(Run):
    def __init__(self) -> None:
        self.points: list[tuple[int | None, dict[str, float]]] = []

    def log(self, metrics: Any, update: int | None = None) -> None:
        self.points.append((update, dict(metrics)))


def fit(module: Counting, updates: int, callbacks: list[pl.Callback], logger: Any = False) -> None:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=logger, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=callbacks, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, DataLoader(range(updates), batch_size=None))  # type: ignore[arg-type]


def test_history_and_run_get_the_same_points_from_update_zero_on(tmp_path: Path) -> None:
    run = Recorder()
    fit(Counting(), 3, [HistoryWriter(tmp_path, run)])
    points = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert points[0] == {"update": 0, "val/fve": -1.0}
    assert [point["update"] for point in points] == [0, 1, 2, 3]
    assert [update for update, _ in run.points] == [0, 1, 2, 3]
    assert run.points[2] == (2, {"loss": 0.5})


def test_lightnings_loggers_get_every_point_by_its_update(tmp_path: Path) -> None:
    logger = pl.loggers.CSVLogger(str(tmp_path), name="csv", version="v")
    fit(Counting(), 3, [HistoryWriter(tmp_path, Run())], logger=logger)
    logger.finalize("success")
    rows = list(csv.DictReader((tmp_path / "csv" / "v" / "metrics.csv").read_text().splitlines()))
    assert [(row["step"], row["loss"]) for row in rows[1:]] == [("1", "1.0"), ("2", "0.5"), ("3", str(1 / 3))]
    assert (rows[0]["step"], rows[0]["val/fve"]) == ("0", "-1.0")


def test_a_resumed_fit_leaves_the_history_of_an_uninterrupted_one(tmp_path: Path) -> None:
    through, killed = tmp_path / "through", tmp_path / "killed"
    through.mkdir()
    killed.mkdir()
    fit(Counting(), 5, [HistoryWriter(through, Run())])
    fit(Counting(), 4, [HistoryWriter(killed, Run())])  # killed after 4, but saved only at 2
    fit(Counting(start=2), 3, [HistoryWriter(killed, Run())])
    assert (killed / "history.jsonl").read_text() == (through / "history.jsonl").read_text()


def test_a_fresh_fit_forgets_an_older_history(tmp_path: Path) -> None:
    for _ in range(2):
        fit(Counting(), 2, [HistoryWriter(tmp_path, Run())])
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 3


def test_bar_counts_updates_and_closes_on_failure() -> None:
    bar = ProgressBar(show=["loss"])
    fit(Counting(), 3, [bar])
    assert bar._bar is None
    assert bar._seen == {"loss": pytest.approx(1 / 3)}
    with pytest.raises(NlaeError, match="in a row"):
        fit(Counting(broken_from=1), 9, [bar, NonFiniteWatch(stop_after=2)])
    assert bar._bar is None


def test_thrown_away_steps_are_told_at_doubling_counts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="nlae.training.callbacks")
    fit(Counting(broken_from=3), 8, [NonFiniteWatch(stop_after=100)])
    told = [message for message in caplog.messages if "thrown away" in message]
    assert [message.split("(")[1] for message in told] == ["1 so far)", "2 so far)", "4 so far)"]


def test_a_fit_that_only_throws_away_is_stopped() -> None:
    module = Counting(broken_from=4)
    with pytest.raises(
        NlaeError, match="update 6: gradients were not finite 3 updates in a row; lower the learning rate"
    ):
        fit(module, 50, [NonFiniteWatch(stop_after=3)])
    assert module.update == 6


class Sampling(Counting):
    """Reports a gap at every update."""

    def __init__(self, gaps: list[float], precision: str = "fp32") -> None:
        super().__init__()
        self.gaps = gaps
        self.autoencoder = SimpleNamespace(backbone=SimpleNamespace(precision=precision))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        self.metrics["policy/sampler_gap"] = self.gaps[batch_idx]


@pytest.mark.parametrize(
    ("gaps", "precision", "limit", "told"),
    [
        ([1e-6, 2e-6, 9e-4], "fp32", None, None),
        ([1e-6, 0.3, 0.4], "fp32", None, "update 2: policy/sampler_gap is 0.3 nats a token (expected at most 0.001)"),
        ([0.05, 0.05, 0.05], "bf16-base", None, None),
        ([0.05, 0.3, 0.4], "bf16-mixed", None, "update 2: policy/sampler_gap is 0.3 nats a token (expected at most 0"),
        ([0.05, 0.3, 0.4], "fp32", 0.35, "update 3: policy/sampler_gap is 0.4 nats a token (expected at most 0.35)"),
        ([1e-6, 1e-6, float("nan")], "fp32", None, "update 3: policy/sampler_gap is nan nats a token"),
    ],
)
def test_rollouts_of_another_policy_are_told_once(
    caplog: pytest.LogCaptureFixture, gaps: list[float], precision: str, limit: float | None, told: str | None
) -> None:
    caplog.set_level(logging.WARNING, logger="nlae.training.callbacks")
    fit(Sampling(gaps, precision), 3, [SamplerGapWatch(limit)])
    messages = [message for message in caplog.messages if "sampler_gap" in message]
    assert len(messages) == (told is not None)
    assert told is None or (messages[0].startswith(told) and "try rollout=plain" in messages[0])


def test_the_band_of_the_gap_is_a_number_above_nought() -> None:
    with pytest.raises(NlaeError, match=r"callbacks.sampler_gap.limit=-1: choose a number above 0"):
        SamplerGapWatch(-1)
