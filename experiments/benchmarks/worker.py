"""One contender in a process of its own: `python -m experiments.benchmarks.worker JOB MODULE:FUNCTION`."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import sys
import traceback
from pathlib import Path

from experiments.benchmarks.job import Job
from experiments.benchmarks.session import CommandsEndedError, Session

# nothing here may ask the network, and no library may log anywhere
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def bound_memory() -> None:
    """Let an allocation beyond what is free now fail here, before the kernel picks a process to kill."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        resource.setrlimit(resource.RLIMIT_DATA, (int(0.9 * free), resource.RLIM_INFINITY))


def main(arguments: list[str]) -> int:
    """Load, then answer commands until told to stop; an error is reported in one line."""
    path, entry = arguments
    os.environ.update(QUIET)
    session = Session(Job.load(Path(path)))
    if session.job.device == "cpu":
        bound_memory()
    try:
        import torch

        torch.set_num_threads(session.job.threads)
        torch.manual_seed(0)
        module, _, function = entry.partition(":")
        getattr(importlib.import_module(module), function)(session.job, session)
    except CommandsEndedError:
        return 0
    except Exception as error:
        traceback.print_exc()
        session.send({"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
        return 1
    session.send({"error": "the contender ended before it was told to"})
    return 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    # taking a model apart in good order can take longer than a repetition
    os._exit(code)
