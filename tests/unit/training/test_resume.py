"""Killed and resumed, an objective ends in the very weights that it would have ended in."""

from __future__ import annotations

import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from nlae.errors import NlaeError
from nlae.model.autoencoder import Autoencoder
from nlae.tracking import NullRun
from nlae.tracking.history import Replayed
from nlae.tracking.superseding import remembered
from nlae.training.callbacks import Resume
from nlae.training.fit import REFUSED, REFUSED_CALLBACKS, check, fit
from nlae.training.resuming import checkpoint_in, load, resume_update
from offline_runs import of_kind, open_one, records

UPDATES = 7
HALVES = ("verbalizer", "reconstructor")


class Kill(pl.Callback):
    """Stops the fit after an update, before anything more is written."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if pl_module.update == self.after:
            raise InterruptedError("killed")


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture(params=["verbalizer", "reconstructor", "grpo", "frozen", "supervised"])
def begin(request, fresh, warm, half, reinforce, serve, held_out):
    """A function of the start update: module and data of one objective."""

    def make(start: int):
        if request.param in HALVES:
            module = half(request.param, fresh(magnitude=True), UPDATES, validation=held_out)
            return module, serve(request.param, UPDATES, start)
        texts = {"descriptions": serve("verbalizer", 1).descriptions_folder} if request.param == "supervised" else {}
        module = reinforce(Autoencoder.load(warm), UPDATES, algorithm=request.param, validation=held_out)
        return module, serve("rollout", UPDATES, start, batch_size=4, **texts)

    return make


def test_killed_and_resumed_it_ends_in_the_same_weights(begin, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    reference, data = begin(0)
    fit(reference, data, whole, run=NullRun(), callbacks=[Resume(2)])
    assert reference.update == UPDATES

    module, data = begin(0)
    with pytest.raises(InterruptedError):
        fit(module, data, killed, run=NullRun(), callbacks=[Resume(2), Kill(5)])
    assert resume_update(killed) == 4, "update 5 is lost, and done again"
    again, data = begin(resume_update(killed))
    fit(again, data, killed, run=NullRun(), callbacks=[Resume(2)])
    wanted, found = reference.trained_state(), again.trained_state()
    assert wanted.keys() == found.keys()
    for name, weight in wanted.items():
        assert torch.equal(weight, found[name]), name
    assert again.metrics == reference.metrics
    assert lines(killed) == lines(whole)

    # finished but killed before the stage could write its manifest: nothing is trained again
    third, data = begin(resume_update(killed))
    fit(third, data, killed, run=NullRun(), callbacks=[Resume(2)])
    assert third.update == UPDATES
    assert all(torch.equal(weight, wanted[name]) for name, weight in third.trained_state().items())
    assert third.metrics == {name: value for name, value in reference.metrics.items() if name.startswith("val/")}


def test_killed_and_resumed_its_last_wandb_run_holds_every_update_once(fresh, half, serve, held_out, tmp_path):
    folder = tmp_path / "stage"
    folder.mkdir()

    def once(start: int, *kill: Kill) -> list[dict[str, Any]]:
        module = half("verbalizer", fresh(), UPDATES, validation=held_out)
        with open_one(tmp_path / "tracking", folder=folder) as opened:
            data = serve("verbalizer", UPDATES, start)
            fit(module, data, folder, run=Replayed(opened, folder), callbacks=[Resume(2), *kill])
        return records(opened.directory)

    with pytest.raises(InterruptedError):
        once(0, Kill(5))
    found = once(resume_update(folder))
    items = [record["item"] for record in of_kind(found, "history")]
    assert [int(item["update"]) for item in items] == list(range(UPDATES + 1))
    assert [int(item["update"]) for item in items if "verbalizer/nll" in item] == list(range(1, UPDATES + 1))
    first, last = remembered(folder)
    assert of_kind(records(Path(first["directory"])), "run")[0]["tags"] == ["superseded"]
    assert of_kind(found, "run")[0]["config"]["update"]["supersedes"] == [first["id"]]
    assert last["id"] == of_kind(found, "run")[0]["run_id"]


def test_what_is_kept_is_small_plain_and_whole(fresh, half, serve, tmp_path, monkeypatch):
    """Trained weights, optimizers and the update, none of which can run; a kill while it is written costs nothing."""
    module, data = half("verbalizer", fresh(), 4), serve("verbalizer", 4)
    with pytest.raises(InterruptedError):
        fit(module, data, tmp_path, run=NullRun(), callbacks=[Resume(1), Kill(3)])
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["last.ckpt"]
    kept = load(tmp_path / "resume" / "last.ckpt")
    assert kept["counts"] == {"update": 2, "skipped": 0}
    assert kept["state_dict"].keys() == fresh().verbalizer.trained_state().keys()
    assert len(kept["optimizer_states"]) == 1

    replace = Path.replace

    def dying(self: Path, other: Path) -> Path:
        if self.name == "last.ckpt.new":
            raise InterruptedError
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", dying)
    module = half("verbalizer", fresh(), 4)
    with pytest.raises(InterruptedError):
        fit(module, serve("verbalizer", 4, 2), tmp_path, run=NullRun(), callbacks=[Resume(1)])
    assert module.update == 3
    assert resume_update(tmp_path) == 2


def test_a_time_limit_leaves_a_fit_that_goes_on(fresh, half, serve, tmp_path):
    late = partial(pl.Trainer, accelerator="cpu", max_time={"seconds": 0})
    with pytest.raises(NlaeError, match=r"trainer.max_time is over at update \d of 3; run the same command again"):
        fit(
            half("verbalizer", fresh(), 3),
            serve("verbalizer", 3),
            tmp_path,
            run=NullRun(),
            trainer=late,
            callbacks=[Resume(1)],
        )
    done = resume_update(tmp_path)
    assert done < 3
    module = half("verbalizer", fresh(), 3)
    fit(module, serve("verbalizer", 3, done), tmp_path, run=NullRun(), callbacks=[Resume(1)])
    assert module.update == 3


@pytest.mark.parametrize("killed", [False, True])
def test_a_limit_of_batches_ends_a_fit_resumed_or_not(fresh, half, serve, held_out, tmp_path, killed):
    short = partial(pl.Trainer, accelerator="cpu", limit_train_batches=3)
    if killed:
        module = half("verbalizer", fresh(), 9, validation=held_out)
        with pytest.raises(InterruptedError):
            fit(module, serve("verbalizer", 9), tmp_path, run=NullRun(), trainer=short, callbacks=[Resume(1), Kill(2)])
    module = half("verbalizer", fresh(), 9, validation=held_out)
    data = serve("verbalizer", 9, resume_update(tmp_path))
    fit(module, data, tmp_path, run=NullRun(), trainer=short, callbacks=[Resume(1)])
    assert module.update == 3
    assert "val/nll" in module.metrics, "and the last update is validated"

    again = half("verbalizer", fresh(), 9, validation=held_out)  # killed before the stage could write its manifest
    data = serve("verbalizer", 9, resume_update(tmp_path))
    fit(again, data, tmp_path, run=NullRun(), trainer=short, callbacks=[Resume(1)])
    assert again.update == 3
    assert again.metrics == {name: value for name, value in module.metrics.items() if name.startswith("val/")}


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_what_a_fit_cannot_have_is_refused_with_the_reason(fresh, half, serve, tmp_path, key):
    module, data, trainer = half("verbalizer", fresh(), 1), serve("verbalizer", 1), partial(pl.Trainer, **{key: 1})
    with pytest.raises(NlaeError, match=rf"trainer.{key}=1: .{{20}}"):
        fit(module, data, tmp_path, run=NullRun(), trainer=trainer)


def test_every_refused_argument_is_one_of_lightnings():
    assert REFUSED.keys() <= inspect.signature(pl.Trainer).parameters.keys()


def test_nothing_saved_is_update_zero(tmp_path):
    assert checkpoint_in(tmp_path) is None
    assert resume_update(tmp_path) == 0


class Watching(pl.Callback):
    """Notes the updates after which a validation is said to have ended, and what can be monitored then."""

    def __init__(self, stop_at: int = 10**9) -> None:
        self.stop_at = stop_at
        self.seen: list[tuple[int, bool]] = []

    def on_validation_end(self, trainer, pl_module) -> None:
        self.seen.append((pl_module.update, "val/nll" in trainer.callback_metrics))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        trainer.should_stop = trainer.should_stop or pl_module.update == self.stop_at


def test_callbacks_hear_of_every_validation_and_early_stopping_stops_there(fresh, half, serve, held_out, tmp_path):
    module = half("verbalizer", fresh(), 9, validation=held_out)
    module.validate_every = 3
    early, watch = pl.callbacks.EarlyStopping("val/nll", min_delta=99.0, patience=1), Watching()
    bar = pl.callbacks.TQDMProgressBar()
    fit(
        module, serve("verbalizer", 9), tmp_path, run=NullRun(), callbacks=[Resume(1), watch, early, bar],
        trainer=partial(pl.Trainer, accelerator="cpu", enable_progress_bar=True),
    )  # fmt: skip
    assert watch.seen == [(3, True), (6, True)]
    assert module.update == 6, "nothing improves by 99 nats"


@pytest.mark.parametrize("at", [3, 4])
def test_a_fit_that_a_callback_ended_has_held_out_figures_and_is_at_its_end(fresh, half, serve, held_out, tmp_path, at):
    module = half("verbalizer", fresh(), 9, validation=held_out)
    fit(module, serve("verbalizer", 9), tmp_path, run=NullRun(), callbacks=[Resume(2), Watching(stop_at=at)])
    assert module.update == at
    assert "val/nll" in module.metrics
    again = half("verbalizer", fresh(), 9, validation=held_out)  # killed before the stage could write its manifest
    fit(again, serve("verbalizer", 9, at), tmp_path, run=NullRun(), callbacks=[Resume(2)])
    assert again.update == at
    assert again.metrics == {name: value for name, value in module.metrics.items() if name.startswith("val/")}


def test_a_checkpoint_of_lightnings_own_lies_in_the_folder_of_the_stage(fresh, half, serve, held_out, tmp_path):
    module = half("verbalizer", fresh(), 3, validation=held_out)
    kept = pl.callbacks.ModelCheckpoint(monitor="val/nll")
    fit(module, serve("verbalizer", 3), tmp_path, run=NullRun(), callbacks=[kept])
    assert Path(kept.best_model_path).is_relative_to(tmp_path)
    assert load(Path(kept.best_model_path))["counts"]["update"] == 3


def test_a_metric_that_nothing_logs_is_one_line(fresh, half, serve, held_out, tmp_path):
    module = half("verbalizer", fresh(), 3, validation=held_out)
    with pytest.raises(NlaeError, match=r"verbalizer: Early stopping conditioned on metric `nothing` .* strict=false"):
        fit(module, serve("verbalizer", 3), tmp_path, run=NullRun(), callbacks=[pl.callbacks.EarlyStopping("nothing")])


REFUSALS = {
    r"callbacks.x is a dict: it must be a pytorch_lightning.Callback": ({}, {}),
    r"callbacks.x: StochasticWeightAveraging cannot be had \(.*keep untrained": (
        {}, pl.callbacks.StochasticWeightAveraging(0.1),
    ),
    r"callbacks.x: LearningRateMonitor writes to loggers .* logger=csv": ({}, pl.callbacks.LearningRateMonitor()),
    r"trainer: Lightning refuses these values \(.*limit_train_batches": ({"limit_train_batches": -3}, None),
    r"trainer: Lightning refuses these values \(.*duration": ({"max_time": "soon"}, None),
    r"trainer: Lightning refuses these values \(.*profiler": ({"profiler": "nonsense"}, None),
    r"trainer.gradient_clip_val=1: steps are manual": ({"gradient_clip_val": 1}, None),
}  # fmt: skip


@pytest.mark.parametrize("told", REFUSALS)
def test_what_no_fit_can_have_is_refused_before_anything_is_made(told):
    given, callback = REFUSALS[told]
    with pytest.raises(NlaeError, match=told):
        check(partial(pl.Trainer, **given), {"x": callback, "none": None}, loggers={})


def test_a_check_leaves_the_process_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = partial(pl.Trainer, deterministic=True, max_time="00:00:00:01", profiler="simple")
    check(given, {"lr": pl.callbacks.LearningRateMonitor()})
    assert not torch.are_deterministic_algorithms_enabled()
    assert list(tmp_path.iterdir()) == []


def test_every_refused_callback_is_one_of_lightnings():
    assert all(issubclass(getattr(pl.callbacks, name), pl.Callback) for name in REFUSED_CALLBACKS)
