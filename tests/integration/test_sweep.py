"""Six real jobs from one command: one W&B group, one extraction for each layer, and only what is missing when rerun."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nlae.cli import main

GROUP = "two-by-three"
# smaller than smoke: what is asserted is which jobs ran, not what they found
SMALLER = [
    "target=tiny",
    "debug=smoke",
    "corpus=files",
    "verbalizer.updates=1",
    "verbalizer.validate_every=1",
    "reconstructor.validate_every=1",
    "evaluation.subject=warmstart",
    "evaluation.max_rows=8",
    "evaluation.fit_rows=8",
    "evaluation.measures.frontier.updates=1",
    "evaluation.measures.matching.rows=2",
    "evaluation.measures.no_injection.samples=2",
    "evaluation.resamples=10",
]


@pytest.fixture
def sweep(tmp_path, capsys):
    """Run a sweep; returns its status, its folder, its jobs' statuses and its log."""
    (tmp_path / "texts").mkdir()
    subjects = ("court", "river", "engine", "garden", "market", "choir")
    for index in range(40):
        words = f"The {subjects[index % 6]} of town number {index} was described by {index * 7 + 3} people. " * 6
        (tmp_path / "texts" / f"{index:02d}.txt").write_text(words)
    fixed = [*SMALLER, f"corpus.paths=[{tmp_path}/texts]", f"paths.artifacts={tmp_path}/artifacts", f"group={GROUP}"]

    def run(goal, *words):
        capsys.readouterr()
        status = main([goal, "-m", *words, *fixed])
        captured = capsys.readouterr()
        folder = Path(captured.out.splitlines()[-1])
        files = sorted(folder.glob("*/status.json"))
        return status, folder, [json.loads(path.read_text()) for path in files], captured.err

    return run


def complete(artifacts, stage):
    return [path.parent for path in (artifacts / stage).glob("*/manifest.json")]


def stage_of(run):
    """The stage that a W&B run is named after, and whether the group stands in its file."""
    (file,) = run.glob("*.wandb")
    content = file.read_bytes()
    names = rb"(corpus|extract|describe|verbalizer|reconstructor|warmstart|evaluate|job)-[0-9a-f]{8}"
    (stage,) = set(re.findall(names, content))
    assert GROUP.encode() in content
    return stage.decode()


def as_uploaded(run):
    """Group and job type as W&B's own reader finds them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    (found,) = [record["run"] for record in records if record.get("type") == "run"]
    return found["run_group"], found["job_type"]


@pytest.mark.slow
def test_six_jobs_extract_three_times_and_a_rerun_makes_what_is_missing(tmp_path, sweep):
    artifacts = tmp_path / "artifacts"
    status, _, jobs, err = sweep("extract", "site.layer=9,0")
    assert status == 2
    assert [job["status"] for job in jobs] == ["failed", "complete"]
    assert "layers 0 to 3" in jobs[0]["error"]
    assert "1 of 2 jobs failed: 0" in err

    words = ["site.layer=0,1,2", "prompt=paper,bullets"]
    status, folder, jobs, _ = sweep("evaluate", *words)
    assert status == 0
    assert [job["status"] for job in jobs] == ["complete"] * 6
    assert len({job["folder"] for job in jobs}) == 6
    made = {stage: len(complete(artifacts, stage)) for stage in ("corpus", "extract", "warmstart", "evaluate")}
    assert made == {"corpus": 1, "extract": 3, "warmstart": 6, "evaluate": 6}
    runs = {run: stage_of(run) for run in sorted((artifacts / "wandb").glob("offline-run-*"))}
    assert {stage: list(runs.values()).count(stage) for stage in made} == made
    assert list(runs.values()).count("job") == 1 + 6  # each that could be planned, reused stages or not
    last = [run for run, stage in runs.items() if stage == "evaluate"][-1]
    assert as_uploaded(last) == (GROUP, "evaluate")

    lost = Path(jobs[2]["folder"])
    shutil.rmtree(lost)
    before = {path: path.stat().st_mtime_ns for path in artifacts.rglob("manifest.json")}
    status, again, _, err = sweep("evaluate", *words)
    assert (status, again) == (0, folder)
    started = [line.split()[1:3] for line in err.splitlines() if line.endswith("starting")]
    assert started == [["evaluate", f"{lost.name}:"]]
    after = {path: path.stat().st_mtime_ns for path in artifacts.rglob("manifest.json")}
    assert set(after) - set(before) == {lost / "manifest.json"}
    assert {path: after[path] for path in before} == before
