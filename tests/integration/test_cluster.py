"""Inside an allocation: real processes, real signals, and no checkpoint of Lightning's for clusters."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlae.cli import main
from nlae.training.resuming import resume_update

UPDATES, AFTER = 24, 4
ALLOCATION = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "LSB_JOBID": "7",
    "RANK": "0",
    "LOCAL_RANK": "0",
}
PICKLE = b"cos\nmkdir\n(S'was-run'\ntR."  # makes a folder when it is loaded


def words(goal: str, folder: Path) -> list[str]:
    more = [f"verbalizer.updates={UPDATES}", "callbacks.resume.every=1"]
    return [goal, "target=tiny", "debug=smoke", "logger=none", *more, f"paths.artifacts={folder}/artifacts"]


def points(folder: Path) -> list[int]:
    lines = [
        line
        for path in folder.glob("artifacts/verbalizer/*/history.jsonl")
        for line in path.read_text().splitlines(keepends=True)
    ]
    return [json.loads(line)["update"] for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_signals_end_a_fit_that_goes_on_and_no_pickle_is_written_or_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in ALLOCATION.items():
        monkeypatch.setenv(name, value)
    for name in ("hpc_ckpt_1.ckpt", "artifacts/hpc_ckpt_1.ckpt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PICKLE)
    before = sorted(tmp_path.rglob("*.ckpt"))
    for goal in ("extract", "describe"):  # what it needs is made first
        assert main(words(goal, tmp_path)) == 0
    done = 0
    for number in (signal.SIGUSR1, signal.SIGTERM):
        job = subprocess.Popen(
            [sys.executable, "-m", "nlae", *words("verbalizer", tmp_path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while job.poll() is None and max(points(tmp_path), default=0) < done + AFTER:
            time.sleep(0.02)
        job.send_signal(number)
        _, err = job.communicate()
        assert job.returncode == 130, err
        assert "interrupted; the same command goes on where it stopped" in err
        assert "Traceback" not in err
        (resume,) = (tmp_path / "artifacts" / "verbalizer").glob("*/resume")
        reached = resume_update(resume.parent)
        assert done + AFTER - 1 <= reached < UPDATES
        done = reached
    capsys.readouterr()
    assert main(words("verbalizer", tmp_path)) == 0
    out, err = capsys.readouterr()
    assert "going on" in err
    assert (Path(out.splitlines()[-1]) / "manifest.json").is_file()
    assert points(tmp_path) == list(range(UPDATES + 1))
    assert sorted(tmp_path.rglob("*.ckpt")) == before
    assert not (tmp_path / "was-run").exists()
