"""Sweeps: every job runs, each with its own folder and status, whatever happens to the others."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nlae import cli
from nlae.errors import NlaeError


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    """Replaces the job; collects (seed, prompt, group), and fails where asked."""
    seen, bad = [], {}

    def run_one(composed, goal, verbatim, group=None):
        seed = composed.config["seed"]
        seen.append((seed, composed.choices["prompt"], group))
        if seed in bad:
            raise bad[seed]
        return tmp_path / f"made-{seed}", {"fve": 0.5}

    monkeypatch.setattr(cli, "run_one", run_one)
    return seen, bad


def run(tmp_path, capsys, *words):
    status = cli.main(["evaluate", *words, f"paths.artifacts={tmp_path}/artifacts"])
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err


def statuses(folder):
    return [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*/status.json"))]


def test_every_combination_is_a_job_in_one_group(tmp_path, capsys, jobs):
    status, out, _ = run(tmp_path, capsys, "-m", "seed=0,1,2", "prompt=paper,short")
    assert status == 0
    assert jobs[0] == [(seed, prompt, "default") for seed in (0, 1, 2) for prompt in ("paper", "short")]
    found = statuses(out[-1])
    assert [one["status"] for one in found] == ["complete"] * 6
    assert found[0]["overrides"][:2] == ["seed=0", "prompt=paper"]
    assert found[0]["metrics"] == {"fve": 0.5}


def test_a_failed_job_does_not_stop_the_others(tmp_path, capsys, jobs):
    jobs[1][0] = NlaeError("first one\nis bad")
    jobs[1][2] = RuntimeError("a bug")
    status, out, err = run(tmp_path, capsys, "-m", "seed=0,1,2")
    assert status == 2
    assert [one["status"] for one in statuses(out[-1])] == ["failed", "complete", "failed"]
    assert statuses(out[-1])[0]["error"] == "first one is bad"
    assert statuses(out[-1])[2]["error"] == "RuntimeError: a bug"
    assert "2 of 3 jobs failed: 0, 2" in err
    assert "Traceback" in err
    jobs[1].clear()
    status, again, _ = run(tmp_path, capsys, "-m", "seed=0,1,2")
    assert (status, again[-1]) == (0, out[-1])


def test_an_interrupted_sweep_leaves_its_status(tmp_path, capsys, jobs):
    jobs[1][1] = KeyboardInterrupt()
    status, _, err = run(tmp_path, capsys, "-m", "seed=0,1,2")
    assert status == 130
    assert "seed=0,1,2" in err
    (folder,) = (tmp_path / "artifacts" / "sweeps").iterdir()
    assert [one["status"] for one in statuses(folder)] == ["complete", "interrupted"]


def test_a_sweep_file_needs_no_flag_and_names_the_group(tmp_path, capsys, jobs):
    status, out, _ = run(tmp_path, capsys, "sweep=seeds")
    assert status == 0
    assert jobs[0] == [(seed, "short", "seeds") for seed in (0, 1, 2)]
    assert len(statuses(out[-1])) == 3


def test_a_typo_is_found_before_any_job(tmp_path, capsys, jobs):
    status, _, err = run(tmp_path, capsys, "-m", "seed=0,1", "prompt=paper,papre")
    assert status == 2
    assert "papre" in err
    assert jobs[0] == []
    status, _, err = run(tmp_path, capsys, "-m", "seed=0,1", "promt=paper")
    assert status == 2
    assert "did you mean 'prompt'" in err


def test_the_config_as_it_was_given_is_never_written(tmp_path, capsys, jobs, monkeypatch):
    """Not even while the jobs run; nor is a file system asked for links, or what another sweep does disturbed."""

    def refuse(*_):
        raise OSError("no links here")

    def look(composed, goal, verbatim, group=None):
        found.extend((tmp_path / "artifacts" / "sweeps").glob("*/multirun.yaml"))
        OmegaConf.save(composed.config, tmp_path / "other.yaml")
        return tmp_path, {}

    found, save = [], OmegaConf.save
    monkeypatch.setattr(Path, "symlink_to", refuse)
    monkeypatch.setattr(cli, "run_one", look)
    status, out, _ = run(tmp_path, capsys, "-m", "seed=0,1")
    assert (status, found, OmegaConf.save) == (0, [], save)
    assert (tmp_path / "other.yaml").is_file()
    left = Path(out[-1]) / "multirun.yaml"
    left.write_text("of an earlier version")
    assert run(tmp_path, capsys, "-m", "seed=0,1")[0] == 0
    assert (found, left.exists()) == ([], False)
