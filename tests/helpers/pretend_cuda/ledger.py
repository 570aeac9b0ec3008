"""What happened on the device, by file and line: who made the host wait, and what a reader should know of."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "/nlae/"


class RefusedError(RuntimeError):
    """What a CUDA build would have raised, too."""


class Ledger:
    """Counts of one process.

    Attributes:
        waits: (phase, kind, place, operator); kinds are `read` (device to host), `send` (pageable memory to the device)
            and `size` (a result whose size depends on numbers).
        marks: units of work that waits are divided by.
        oddities: (what, place, operator): allowed, but seldom meant.
        operators: how often each ran on the device.
        phase: stage and activity at the moment.
    """

    def __init__(self) -> None:
        self.waits: Counter[tuple[str, str, str, str]] = Counter()
        self.marks: Counter[str] = Counter()
        self.oddities: Counter[tuple[str, str, str]] = Counter()
        self.operators: Counter[object] = Counter()
        self.phase = "-"

    def wait(self, kind: str, operator: str) -> None:
        """Note that the host waits here."""
        self.waits[self.phase, kind, place(), operator] += 1

    def odd(self, what: str, operator: str) -> None:
        """Note something that is allowed, but seldom meant."""
        self.oddities[what, place(), operator] += 1

    def mark(self, what: str) -> None:
        """Count a unit of work."""
        self.marks[what] += 1

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """Call what happens inside by this name."""
        kept, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = kept

    def dump(self, path: Path) -> None:
        """Write everything as JSON."""
        found = {
            "marks": self.marks,
            "waits": [[*key, n] for key, n in self.waits.most_common()],
            "oddities": [[*key, n] for key, n in self.oddities.most_common()],
            "operators": [[str(key), n] for key, n in self.operators.most_common()],
        }
        path.write_text(json.dumps(found, indent=1))


LEDGER = Ledger()


def place() -> str:
    """file:line of the innermost frame of the project, and of the library call below it if there is one."""
    frame, below = sys._getframe(1), ""
    while frame is not None:
        name = frame.f_code.co_filename
        if "site-packages" in name:
            if "/torch/" not in name and not below:
                below = f"{name.rsplit('site-packages/', 1)[1]}:{frame.f_lineno}"
        elif PACKAGE in name:
            return f"{name.rsplit(PACKAGE, 1)[1]}:{frame.f_lineno}" + (f" < {below}" if below else "")
        frame = frame.f_back  # type: ignore[assignment]
    return below or "?"
