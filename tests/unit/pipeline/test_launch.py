"""An allocation is a plain machine; one of several tasks does nothing; a batch system's signals end a command."""

import os
import signal
import subprocess
import sys

import pytest

from nlae.cli import main
from nlae.errors import NlaeError
from nlae.pipeline.launch import LAUNCHERS, refuse_many, stopped_like_ctrl_c

ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "LSB_JOBID": "3", "PBS_JOBID": "5"}


@pytest.mark.parametrize(
    "environ",
    [
        ALLOCATION,
        {**ALLOCATION, "SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "1", "WORLD_SIZE": "1", "RANK": "0"},
        {"WORLD_SIZE": "4"},
        {"RANK": "3", "LOCAL_RANK": "3"},
        {"SLURM_STEP_NUM_TASKS": ""},
    ],
)
def test_one_process_is_let_through(environ):
    refuse_many(environ)


@pytest.mark.parametrize("name", list(LAUNCHERS.values()))
def test_one_of_several_is_refused_before_anything_is_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(name, "4")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(NlaeError, match=f"4 tasks of one command .{name}=4.*start one"):
        refuse_many()
    place = tmp_path / "artifacts"
    for words in (["report"], ["corpus"], ["explain", "text=a"], ["evaluate", "-m", "seed=1,2"]):
        assert main([*words, "target=tiny", "debug=smoke", f"paths.artifacts={place}"]) == 2
        assert f"{name}=4" in capsys.readouterr().err
    assert not place.exists()
    assert main(["--version"]) == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGXCPU", "SIGHUP"])
def test_a_signal_of_a_batch_system_is_an_interruption(name):
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(KeyboardInterrupt, match=name), stopped_like_ctrl_c():
        os.kill(os.getpid(), getattr(signal, name))
    assert signal.getsignal(getattr(signal, name)) == before


def test_what_somebody_handles_or_ignores_is_left_alone():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_like_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_worker_still_dies_of_it():
    code = (
        "import os, signal\n"
        "from nlae.pipeline.launch import stopped_like_ctrl_c\n"
        "with stopped_like_ctrl_c():\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        os._exit(3)\n"
        "    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
