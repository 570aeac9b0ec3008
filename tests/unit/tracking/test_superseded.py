"""One run per executed stage; the last one of a stage holds every update once, the unfinished one says so."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import offline_runs
from nlae.errors import NlaeError
from nlae.tracking import NullRun, Run, open_job
from nlae.tracking.history import HISTORY, History, Recorded, Replayed
from nlae.tracking.superseding import remembered, supersede, tag_file
from offline_runs import of_kind, open_one, records

AGENT = {
    "WANDB_RUN_ID": "agentrun",
    "WANDB_SWEEP_ID": "sweep7",
    "WANDB_RESUME": "must",
    "WANDB_NAME": "misty-sweep-1",
    "WANDB_RUN_GROUP": "other",
    "WANDB_JOB_TYPE": "other",
    "WANDB_NOTES": "mine",
}
KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from offline_runs import open_one
from nlae.tracking.history import Recorded
folder = Path(sys.argv[1])
with open_one(folder / "tracking", folder=folder) as run:
    record = Recorded(run, folder)
    for update in range(1, 6):
        # W&B writes blocks of 32 KiB
        record.log({"loss": 1 / update, **{f"figure/{number}": 0.5 for number in range(900)}}, update)
    while not any(path.stat().st_size >= 32768 for path in folder.rglob("run-*.wandb")):
        time.sleep(0.1)
    (folder / "ready").touch()
    signal.pause()
"""


def curve(directory: Path) -> list[int]:
    points = [record["item"] for record in of_kind(records(directory), "history")]
    return [int(point["update"]) for point in points if "loss" in point]


def tags(directory: Path) -> list[str]:
    return of_kind(records(directory), "run")[0].get("tags", [])


def test_killed_and_resumed_the_last_run_holds_every_update_once(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(Path(offline_runs.__file__).parent)])
    while not (tmp_path / "ready").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    (old,) = remembered(tmp_path)
    (file,) = Path(old["directory"]).glob("*.wandb")
    assert file.stat().st_size >= 32768
    # it had saved update 3
    with open_one(tmp_path / "tracking", folder=tmp_path) as opened:
        run = Recorded(Replayed(opened, tmp_path), tmp_path)
        for update in range(4, 8):
            run.log({"loss": 1 / update}, update)
        run.summary({"fve": 0.5})
    directory = Path(remembered(tmp_path)[-1]["directory"])
    assert curve(directory) == list(range(1, 8))
    found = records(directory)
    assert of_kind(found, "run")[0]["config"]["update"]["supersedes"] == [old["id"]]
    assert tags(directory) == []
    assert tags(Path(old["directory"])) == ["superseded"]
    assert [point["update"] for point in map(json.loads, (tmp_path / HISTORY).read_text().splitlines())] == [
        *range(1, 8)
    ]


def test_a_stage_that_only_had_to_be_sealed_replays_everything(tmp_path: Path) -> None:
    history = History(tmp_path / HISTORY)
    for update in (0, 1, 2):
        history.append(update, {"loss": 1.0, "odd": float("nan")})
    with open_one(tmp_path / "tracking", folder=tmp_path) as opened:
        run = Replayed(opened, tmp_path)
        run.summary({"fve": 0.5})
        run.summary({"fve": 0.5})
    assert opened.directory is not None
    assert curve(opened.directory) == [0, 1, 2]


def test_tagging_keeps_every_record_of_a_file_of_several_blocks(tmp_path: Path) -> None:
    with open_one(tmp_path) as run:
        for update in range(40):
            run.log({f"figure/{number}": 0.5 for number in range(200)}, update)
    assert run.directory is not None
    (file,) = run.directory.glob("*.wandb")
    assert file.stat().st_size > 3 * 32768
    before = records(run.directory)
    tag_file(file)
    tag_file(file)
    after = records(run.directory)
    assert tags(run.directory) == ["superseded"]
    del of_kind(after, "run")[0]["tags"]
    assert after == before
    torn = tmp_path / "torn"
    shutil.copytree(run.directory, torn)
    (copy,) = torn.glob("*.wandb")
    copy.write_bytes(copy.read_bytes()[:-5])
    tag_file(copy)
    assert len(records(torn)) == len(before) - 1


def test_a_run_that_is_gone_costs_no_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    supersede({"id": "a", "mode": "offline", "path": "", "directory": str(tmp_path / "gone")})
    (tmp_path / "run-a.wandb").write_bytes(b"nonsense")
    supersede({"id": "a", "mode": "offline", "path": "", "directory": str(tmp_path)})
    assert "run a could not be tagged superseded" in caplog.text


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AGENT.items():
        monkeypatch.setenv(name, value)


def identity(run: Run) -> dict[str, Any]:
    assert run.directory is not None
    return of_kind(records(run.directory), "run")[0]


def test_no_stage_takes_the_agents_run_and_the_job_does(tmp_path: Path, agent: None) -> None:
    settings = {"mode": "offline", "dir": str(tmp_path)}
    with open_job(settings=settings, group="g", fingerprint="f" * 16, config={"seed": 1}) as job:
        with open_one(tmp_path, stage="corpus") as one, open_one(tmp_path, stage="extract") as other:
            one.log({"loss": 1.0}, 1)
        job.summary({"fve": 0.25})
    owner, first, second = identity(job), identity(one), identity(other)
    assert (owner["run_id"], owner["sweep_id"], owner["display_name"]) == ("agentrun", "sweep7", "misty-sweep-1")
    assert (owner["job_type"], owner["run_group"]) == ("job", "g")
    assert len({run["run_id"] for run in (owner, first, second)}) == 3
    for run, stage in ((first, "corpus"), (second, "extract")):
        assert (run["display_name"], run["job_type"], run["run_group"]) == (f"{stage}-abcdef01", stage, "quickstart")
        assert not run.get("sweep_id")
    summary = [update for record in of_kind(records(job.directory), "summary") for update in record.get("update", [])]
    assert "fve" in json.dumps(summary)
    assert os.environ["WANDB_RUN_ID"] == "agentrun"


def test_a_job_of_our_own_sweep_has_a_run_without_an_agents_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "leftover")
    with open_job(settings={"mode": "offline", "dir": str(tmp_path)}, group="g", fingerprint="ff", config={}) as job:
        pass
    assert identity(job)["run_id"] != "leftover"
    with open_job(settings={"mode": "none"}, group="g", fingerprint="ff", config={}) as nothing:
        assert isinstance(nothing, NullRun)


def test_a_late_run_is_opened_by_what_is_written_and_by_nothing_else(tmp_path: Path) -> None:
    def refuse() -> None:
        with open_one(tmp_path, late=True):
            raise NlaeError("bad input")

    with pytest.raises(NlaeError, match="bad input"):
        refuse()
    assert list(tmp_path.iterdir()) == []
    with open_one(tmp_path, stage="explain", late=True) as run:
        run.summary({"fve": 1.0})
    assert identity(run)["job_type"] == "explain"
