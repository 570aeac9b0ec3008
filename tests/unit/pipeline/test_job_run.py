"""Which commands open the run of a whole job."""

from contextlib import nullcontext

import pytest

from nlae.cli import main
from nlae.pipeline import run as run_module
from nlae.pipeline.run import job_run
from nlae.tracking import NullRun, Run


@pytest.fixture
def opened(monkeypatch):
    jobs = []

    def open_job(**given):
        jobs.append((given["group"], given["fingerprint"]))
        return nullcontext(Run())

    monkeypatch.setattr(run_module, "open_job", open_job)
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    return jobs


def test_a_plain_command_opens_none_and_says_that_it_leaves_an_id_alone(make, fake, opened, monkeypatch, caplog):
    with job_run(make(), "extract", "g", in_sweep=False) as run:
        assert isinstance(run, NullRun)
    assert not caplog.messages
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    with job_run(make(), "extract", "g", in_sweep=False):
        pass
    assert any("WANDB_RUN_ID is left alone" in line for line in caplog.messages)
    assert opened == []


def test_a_job_of_a_sweep_and_a_trial_of_an_agent_open_one(make, fake, opened, monkeypatch):
    plan = make()
    with job_run(plan, "extract", "g", in_sweep=True):
        pass
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    with job_run(plan, "extract", "g", in_sweep=False):
        pass
    assert opened == [("g", plan.artifact("extract").fingerprint)] * 2


def test_several_jobs_in_one_trial_are_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    assert main(["extract", "-m", "seed=1,2", "target=tiny", f"paths.artifacts={tmp_path}/a"]) == 2
    assert "each of its trials is one job" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
