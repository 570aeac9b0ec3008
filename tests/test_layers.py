"""The layering of pyproject.toml holds: import-linter over every module, imports inside functions included."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_layers_hold() -> None:
    pytest.importorskip("importlinter", reason="needs import-linter (the test extra)")
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 kept, 0 broken" in run.stdout


def test_import_is_light() -> None:
    """`import nlae` and the command line must not wait for torch."""
    heavy = ("torch", "transformers", "wandb", "datasets")
    code = f"import sys, nlae, nlae.cli; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
