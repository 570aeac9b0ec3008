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
from typing import Any

import pytest

from nlae.pipeline.table import STAGES
from pretend_cuda.guard import missing

ROOT = Path(__file__).parents[2]
# as small as the whole chain can be: an operator of the pretend device costs as much as all the numbers it is given
TINY = [
    "target=tiny",
    "target.layers=2",
    "target.width=32",
    "target.vocabulary=400",
    "debug=smoke",
    "trainer=gpu",
    "logger=none",
    "corpus=files",
    "prompt.max_tokens=8",
    "rollout.batch_size=8",
    "evaluation.max_rows=6",
    "evaluation.measures.no_injection.samples=4",
    "evaluation.measures.frontier.updates=1",
    "evaluation.measures.matching.rows=2",
    "verbalizer.updates=2",
    "verbalizer.validate_every=1",
    "reconstructor.validate_every=1",
    "data.validation_rows=4",
    "objective.updates=2",
    "dictionary.layers=[1]",
]
FULL = ["verbalizer=full", "reconstructor=full", "trainer.precision=bf16-mixed"]
CASES = {
    "bf16-base": [["report"], ["explain", "text=It rains in the town."], ["export"]],
    "several sites": [["warmstart", "site=sites", "site.layers=[0,1]", "prompt=site"]],
    "a dictionary": [["dictionary", "dictionary.steered=2"]],
    "fp32, then bf16-mixed": [
        ["report", "trainer.precision=32-true", "machine.matmul_precision=high"],
        ["report", "trainer.precision=bf16-mixed"],
    ],
    "whole weights, blocks run again": [
        ["reinforce", *FULL, "machine.checkpointing=true"],
        ["export", *FULL, "machine.checkpointing=true"],
    ],
    "steps as graphs": [["reinforce", "rollout.graphs=true", "prompt.max_tokens=12"]],
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short texts of as many works."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = [line for line in (ROOT / "LICENSE").read_text().splitlines() if len(line) > 60]
    texts = [" ".join(lines[start : start + 3]) for start in range(0, 120, 3)]
    path.write_text("\n".join(json.dumps({"text": text, "source": f"work {n}"}) for n, text in enumerate(texts)))
    return path


@pytest.fixture(params=["pretend", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """The CUDA device that does not exist, and the one that does."""
    if request.param == "pretend" and (why := missing()) is not None:
        pytest.skip(why)
    return str(request.param)


@pytest.fixture
def run(device: str, texts: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run commands of `nlae` in one process; asserts that all end well, and gives what the pretend device noted."""

    def run(commands: list[list[str]], **environment: str) -> dict[str, Any]:
        given = [f"corpus.paths=[{texts}]", f"paths.artifacts={tmp_path}"]
        words = json.dumps([[goal, *TINY, *given, *more] for goal, *more in commands])
        return start(device, tmp_path / "ledger.json", ["commands", words], **environment)

    return run


def start(device: str, ledger: Path, words: list[str], **environment: str) -> dict[str, Any]:
    """Run a module with a device."""
    before = ["pretend_cuda", str(ledger)] if device == "pretend" else []
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *before, *words],
        env={**os.environ, **environment, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return dict(json.loads(ledger.read_text())) if ledger.exists() else {}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES)
def test_every_goal_runs_on_a_device(run, tmp_path, device, case):
    noted = run(CASES[case])
    made = {path.parent.parent.name for path in tmp_path.glob("*/*/manifest.json")}
    assert {goal for goal, *_ in CASES[case] if goal in STAGES} <= made
    for path in tmp_path.glob("warmstart/*/manifest.json"):
        peak = json.loads(path.read_text())["peak_device_memory_bytes"]
        assert peak > 0 or device == "pretend"
    # Lightning brings weights to the host when a fit ends; what is written afterwards would be written there
    assert not [odd for odd in noted.get("oddities", []) if "moved to the host" in odd[0]]
    if device == "pretend":
        assert noted["waits"], "nothing ran on the device"


@pytest.mark.slow
def test_the_second_device_is_used_when_it_is_asked_for(texts, tmp_path):
    if (why := missing()) is not None:
        pytest.skip(why)
    words = ["reinforce", *TINY, f"corpus.paths=[{texts}]", f"paths.artifacts={tmp_path}", "trainer.devices=[1]"]
    noted = start("pretend", tmp_path / "ledger.json", ["commands", json.dumps([words])], PRETEND_DEVICE="1")
    assert noted["waits"], "nothing ran on the device"


@pytest.mark.slow
def test_pieces_that_need_a_device_hold_on_the_pretend_one(tmp_path):
    if (why := missing()) is not None:
        pytest.skip(why)
    words = ["pytest", "-q", "-x", "-m", "gpu", "-p", "no:cacheprovider", "tests/integration/test_on_gpu.py"]
    noted = start("pretend", tmp_path / "ledger.json", words)
    assert noted["operators"]
