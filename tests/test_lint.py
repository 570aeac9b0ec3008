"""The checks that `make lint` runs, so that a red one is seen where the tests are run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], pytest.param(["mypy"], marks=pytest.mark.slow)],
    ids=["ruff-check", "ruff-format", "mypy"],
)
def test_checks_pass(command: list[str]) -> None:
    pytest.importorskip(command[0], reason=f"needs {command[0]} (the dev extra)")
    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]


def test_no_file_is_long() -> None:
    """Files stay short enough to be read in one sitting."""
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in sorted((ROOT / "nlae").rglob("*.py"))
        if (count := path.read_text(encoding="utf-8").count("\n")) > 320
    ]
    assert not long, long
