"""What other packages say to programmers, seen by a user of the real command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# stands in front of a package that every command imports, speaks, and makes way for it
TALKATIVE = """
import logging, sys, warnings
from pathlib import Path

def speak():
    warnings.simplefilter("always")  # as Lightning does for its own
    for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.warn(f"a {kind.__name__} in other words", kind, stacklevel=2)
    warnings.warn("`old` is deprecated, use `new`", UserWarning)
    warnings.warn("the driver is\\n too old", UserWarning)
    other = logging.getLogger("others.models")
    other.addHandler(logging.StreamHandler())
    other.warning("`torch_dtype` is deprecated! Use `dtype` instead!")
    other.error("deprecated, and now it fails")
    logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Failed to load a kernel")

speak()
sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parents[1])]
del sys.modules["hydra"]
import hydra
"""


def shown(tmp_path: Path, *options: str, **environment: str) -> str:
    """Standard error of a command whose package talks."""
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").write_text(TALKATIVE, encoding="utf-8")
    paths = [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, *options, "-m", "nlae", "corpus", "--cfg", "job"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "target:" in done.stdout
    return done.stderr


def test_deprecations_stay_off_the_screen_and_the_rest_is_one_line_each(tmp_path: Path) -> None:
    lines = shown(tmp_path).splitlines()
    assert len(lines) == 2, lines
    assert "the driver is too old (hydra/__init__.py, line " in lines[0]
    assert lines[1] == "deprecated, and now it fails"


@pytest.mark.parametrize("how", ["option", "variable"])
def test_who_asks_for_warnings_gets_them(tmp_path: Path, how: str) -> None:
    text = shown(tmp_path, "-Wdefault") if how == "option" else shown(tmp_path, PYTHONWARNINGS="default")
    assert "a FutureWarning in other words" in text
    assert "a DeprecationWarning in other words" in text
    assert "torch_dtype" in text
    assert "kernel" not in text


def test_a_program_that_imports_nlae_keeps_its_warnings() -> None:
    code = "import warnings, nlae.cli; nlae.cli.main(['--version']); warnings.warn('mine', FutureWarning)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "FutureWarning: mine" in done.stderr


def test_a_bug_is_traced_without_secrets_and_control_signs(tmp_path) -> None:
    broken = "raise RuntimeError('sent \\x1b[31m with ' + __import__('os').environ['DB_PASSWORD'])"
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").write_text(broken, encoding="utf-8")
    paths = [str(tmp_path), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-m", "nlae", "corpus", "--cfg", "job"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "DB_PASSWORD": "correct-horse-battery"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: sent" in done.stderr
    assert "hydra" in done.stderr, "where it came from"
    assert "horse" not in done.stderr
    assert "\x1b" not in done.stderr
