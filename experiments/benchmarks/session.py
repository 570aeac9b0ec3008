"""A worker's side of the conversation: one JSON line in, one out; blocked on the pipe between two repetitions.

Time is taken here, around exactly one repetition, with the device synchronised on both ends. What libraries print goes
to standard error: the protocol has the original standard output to itself.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.benchmarks.job import Job

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class CommandsEndedError(Exception):
    """The orchestrator asked for the end, in the middle of someone else's training loop."""


class Session:
    """Commands come in, measurements go out.

    Args:
        job: what is computed; its device is synchronised around a repetition.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._started = self._busy = 0.0

    def serve(self, repeat: Callable[[], int], check: Callable[[], list[float]] | None = None) -> None:
        """Answer until told to stop.

        Args:
            repeat: does the work once and returns how many units were done.
            check: numbers that must agree between contenders, taken before the first repetition.
        """
        self.ready()
        while True:
            command = self.wait()
            if command["do"] == "check":
                self.send({"check": check() if check is not None else None})
            elif command["do"] == "profile":
                self.send({"profile": profile(repeat, Path(command["path"]))})
            else:
                self.start()
                self.done(repeat())

    def ready(self) -> None:
        """Loaded: commands may come."""
        self.send({"ready": versions()})

    def wait(self) -> dict[str, Any]:
        """The next command.

        Raises:
            CommandsEndedError: there will be none.
        """
        line = sys.stdin.readline()
        command: dict[str, Any] = json.loads(line) if line.strip() else {"do": "stop"}
        if command["do"] == "stop":
            raise CommandsEndedError
        return command

    def start(self) -> None:
        """Start the clock of a repetition."""
        gc.collect()
        reset_peak(self.job.device)
        synchronise(self.job.device)
        self._started, self._busy = time.perf_counter(), time.process_time()

    def done(self, units: int, **more: float) -> None:
        """Stop the clock and report."""
        synchronise(self.job.device)
        seconds, busy = time.perf_counter() - self._started, time.process_time() - self._busy
        peak = peak_bytes(self.job.device)
        self.send({"seconds": seconds, "cpu_seconds": busy, "units": units, "peak": peak, **more})

    def send(self, message: dict[str, Any]) -> None:
        """One line out."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def synchronise(device: str) -> None:
    """Wait for a GPU; nothing to wait for on a CPU."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def reset_peak(device: str) -> None:
    """Forget the peak so far; where the kernel cannot, the peak is that of the process's life."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")


def peak_bytes(device: str) -> int:
    """Peak of allocated GPU memory, or of resident memory."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def versions() -> dict[str, str]:
    """Versions of what a contender may be made of, as far as it is installed here."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "transformers", "peft", "trl", "transformer-lens", "nnsight", "sae-lens", "nlae"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def profile(repeat: Callable[[], int], path: Path) -> str:
    """Write the operators that one repetition spends its time in to `path`."""
    import torch
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU]
    order = "self_cpu_time_total"
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
        order = "self_device_time_total"
    with torch.profiler.profile(activities=activities) as profiler:
        repeat()
    path.parent.mkdir(parents=True, exist_ok=True)
    table = profiler.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=48)
    path.write_text("\n".join(line.rstrip() for line in table.splitlines()) + "\n", encoding="utf-8")
    return str(path)
