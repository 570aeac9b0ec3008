"""Killed and resumed, an objective ends in the very weights that it would have ended in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from nlae.model.autoencoder import Autoencoder
from nlae.tracking import NullRun
from nlae.tracking.history import Replayed
from nlae.tracking.superseding import remembered
from nlae.training import fit
from nlae.training.resuming import resume_folder, resume_update
from offline_runs import of_kind, open_one, records

UPDATES = 7


class Kill(pl.Callback):
    """Stops the fit after an update, before anything more is written."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if pl_module.update == self.after:
            raise InterruptedError("killed")


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture(params=["warmstart", "grpo", "frozen", "supervised"])
def begin(request, fresh, warm, warmstart, reinforce, serve, held_out):
    """A function of the start update: module and data of one objective."""

    def make(start: int):
        if request.param == "warmstart":
            pair = fresh(magnitude=True)
            return warmstart(pair, UPDATES, validation=held_out), serve("warmstart", UPDATES, start)
        texts = {"descriptions": serve("warmstart", 1).descriptions_folder} if request.param == "supervised" else {}
        module = reinforce(Autoencoder.load(warm), UPDATES, algorithm=request.param, validation=held_out)
        return module, serve("rollout", UPDATES, start, batch_size=4, **texts)

    return make


def test_killed_and_resumed_it_ends_in_the_same_weights(begin, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    reference, data = begin(0)
    fit(reference, data, whole, run=NullRun(), checkpoint_every=2)
    assert reference.update == UPDATES

    module, data = begin(0)
    with pytest.raises(InterruptedError):
        fit(module, data, killed, run=NullRun(), checkpoint_every=2, callbacks=[Kill(5)])
    assert resume_update(killed) == 4, "update 5 is lost, and done again"
    again, data = begin(resume_update(killed))
    fit(again, data, killed, run=NullRun(), checkpoint_every=2)
    wanted, found = reference.autoencoder.trained_state(), again.autoencoder.trained_state()
    assert wanted.keys() == found.keys()
    for name, weight in wanted.items():
        assert torch.equal(weight, found[name]), name
    assert again.metrics == reference.metrics
    assert lines(killed) == lines(whole)

    # finished but killed before the stage could write its manifest: nothing is trained again
    third, data = begin(resume_update(killed))
    fit(third, data, killed, run=NullRun(), checkpoint_every=2)
    assert third.update == UPDATES
    assert torch.equal(third.autoencoder.trained_state()["head.head.weight"], wanted["head.head.weight"])
    assert third.metrics == {name: value for name, value in reference.metrics.items() if name.startswith("val/")}


def test_killed_and_resumed_its_last_wandb_run_holds_every_update_once(fresh, warmstart, serve, held_out, tmp_path):
    folder = tmp_path / "stage"
    folder.mkdir()

    def once(start: int, **how: list[Kill]) -> list[dict[str, Any]]:
        module = warmstart(fresh(), UPDATES, validation=held_out)
        with open_one(tmp_path / "tracking", folder=folder) as opened:
            data = serve("warmstart", UPDATES, start)
            fit(module, data, folder, run=Replayed(opened, folder), checkpoint_every=2, **how)
        return records(opened.directory)

    with pytest.raises(InterruptedError):
        once(0, callbacks=[Kill(5)])
    found = once(resume_update(folder))
    items = [record["item"] for record in of_kind(found, "history")]
    assert [int(item["update"]) for item in items] == list(range(UPDATES + 1))
    assert [int(item["update"]) for item in items if "verbalizer/nll" in item] == list(range(1, UPDATES + 1))
    first, last = remembered(folder)
    assert of_kind(records(Path(first["directory"])), "run")[0]["tags"] == ["superseded"]
    assert of_kind(found, "run")[0]["config"]["update"]["supersedes"] == [first["id"]]
    assert last["id"] == of_kind(found, "run")[0]["run_id"]


def test_a_kill_between_the_renames_costs_nothing(fresh, warmstart, run, serve, tmp_path):
    module = warmstart(fresh(), 2)
    run(module, serve("warmstart", 2))
    module.save_resume(tmp_path / "resume")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["resume"]
    assert sorted(p.suffix for p in (tmp_path / "resume").iterdir()) == [".json", ".safetensors", ".safetensors"]
    os.rename(tmp_path / "resume", tmp_path / "resume.old")
    (tmp_path / "resume.new").mkdir()
    assert resume_update(tmp_path) == 2
    kept = resume_folder(tmp_path)
    assert kept == tmp_path / "resume.old"
    # a second kill while the next one is written must not have touched the only whole one
    module.update = 3
    rename = os.rename

    def dying(*_: object) -> None:
        raise InterruptedError

    os.rename = dying
    try:
        with pytest.raises(InterruptedError):
            module.save_resume(tmp_path / "resume")
    finally:
        os.rename = rename
    assert resume_update(tmp_path) == 2
    module.save_resume(tmp_path / "resume")
    assert resume_update(tmp_path) == 3
    assert not (tmp_path / "resume.old").exists()


def test_nothing_saved_is_update_zero(tmp_path):
    assert resume_folder(tmp_path) is None
    assert resume_update(tmp_path) == 0
