"""The pipeline on a GPU: on a CUDA device where there is one, and everywhere on one that does not exist.

The pretend device (`helpers/pretend_cuda`) refuses what CUDA refuses, and must be there before torch is imported: each
test is a process of its own, in which several commands run one after another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pretend_cuda.guard import missing

ROOT = Path(__file__).parents[2]
# as small as the whole chain can be: each operator of the pretend device costs as much as a hundred of its numbers
TINY = ["target=tiny", "debug=smoke", "trainer=gpu", "logger=none"]
TINY += ["target.layers=2", "target.width=32", "target.vocabulary=400", "prompt.max_tokens=8", "evaluation.max_rows=6"]
TINY += [
    "objective.warmstart.updates=2",
    "objective.warmstart.validate_every=1",
    "objective.warmstart.validation_rows=4",
]
TINY += ["objective.reinforce.updates=2", "objective.reinforce.validation_rows=4", "evaluation.no_injection_samples=4"]
TINY += ["evaluation.frontier_updates=1", "evaluation.matching_rows=2", "corpus.max_documents=40"]

Commands = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["pretend", pytest.param("cuda", marks=pytest.mark.gpu)])
def commands(request: pytest.FixtureRequest, tmp_path: Path) -> Commands:
    """Runs commands of `nlae` in one process with a device; asserts that all end well."""
    if request.param == "pretend" and (why := missing()) is not None:
        pytest.skip(why)
    before = ["-m", "pretend_cuda", str(tmp_path / "ledger.json")] if request.param == "pretend" else ["-m"]

    def run(*commands: list[str]) -> subprocess.CompletedProcess[str]:
        words = [[goal, *TINY, f"paths.artifacts={tmp_path}", *given] for goal, *given in commands]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers"), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, *before, "commands", json.dumps(words)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done

    return run


@pytest.mark.slow
def test_the_whole_chain_runs_on_a_device(commands, tmp_path):
    commands(["report"])
    (page,) = (tmp_path / "report").glob("*/report.html")
    assert page.stat().st_size > 10_000
