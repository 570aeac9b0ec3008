"""Virtual environments of the peers: `.bench/<name>`, made on demand, renewed when their pins change."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from experiments.benchmarks.catalogue import OURS
from experiments.benchmarks.link import ContenderError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BENCH = ROOT / ".bench"


def interpreter(name: str, *, shared: bool = False) -> Path:
    """The Python of an environment; made first if need be, with the same torch as ours.

    Args:
        name: `ours`, or a file `peers/<name>.txt`.
        shared: use our own interpreter for everyone: for machines without a network, where what is not installed
            beside us is not run.

    Raises:
        ContenderError: it cannot be made.
    """
    if name == OURS or shared:
        return Path(sys.executable)
    folder, pins = BENCH / name, HERE / "peers" / f"{name}.txt"
    wanted = [f"torch=={version('torch').partition('+')[0]}", *pins.read_text().split()]
    stamp, mark = folder / "made-from", hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    python = folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == mark:
        return python
    _run(["sh", str(ROOT / "tools" / "make-venv"), str(folder), sys.executable], name)
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], name)
    stamp.write_text(mark)
    return python


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise ContenderError(f"environment {name} could not be made: {' '.join(lines[-1:])[:200]}")
