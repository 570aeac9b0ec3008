"""The orchestrator's side of a worker: start it, command it, give up on it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any, Self


class ContenderError(Exception):
    """A contender could not be started, or did not finish a repetition; the text says why, in one line."""


class Link:
    """A worker process.

    Args:
        python: interpreter of its environment.
        job: path of `job.json`.
        entry: `module:function`.
        log: where its standard error goes.
        root: the repository, which it imports the benchmark from.
        threads: of its arithmetic.
        limit: seconds that one command may take.
    """

    def __init__(
        self, python: Path, job: Path, entry: str, log: Path, *, root: Path, threads: int, limit: float = 1800
    ) -> None:
        self._limit, self._late = limit, False
        log.parent.mkdir(parents=True, exist_ok=True)
        # fewer threads than cores would be measured otherwise: libraries read these before torch is asked
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", "experiments.benchmarks.worker", str(job), entry],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=root,
                env=environment,
            )
        self.versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def ready(self) -> Self:
        """Wait until it has loaded."""
        self.versions = self._answer()["ready"]
        return self

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Command, and wait for the answer.

        Raises:
            ContenderError: an error there, silence for too long, or a dead process.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ContenderError("the process is gone") from error
        return self._answer()

    def stop(self) -> None:
        """Let it end, then make it end."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Timer(self._limit, self._give_up)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            code = self._process.wait()
            if self._late:
                raise ContenderError(f"no answer within {self._limit:.0f} s")
            raise ContenderError(f"killed by signal {-code}" if code < 0 else f"the process ended with code {code}")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise ContenderError(str(message["error"]))
        return message

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()
