"""Answers kept by content, append-only, so that a kill loses nothing and a resume asks nothing twice.

One JSON object per line: {"key", "text"} or {"key", "failed"}. A half-written last line (a kill in the middle of it) is
ignored and overwritten. Keys are hashes of settings, instructions and prefix; no prompt, no header, no secret is
stored.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nlae.errors import NlaeError
from nlae.files.foreign import parse_json


def content_key(identity: dict[str, Any], instructions: str, prefix: str) -> str:
    """Hash of everything a text depends on."""
    whole = json.dumps([identity, instructions, prefix], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:40]


class AnswerCache:
    """A dictionary key → text (None for a recorded failure) in a file that only grows."""

    def __init__(self, path: Path, *, sync_every: int = 50) -> None:
        """Every `sync_every` answers are forced to disk; a killed process loses none, a power cut at most these."""
        self.path = path
        self.sync_every = sync_every
        self._known: dict[str, str | None] = {}
        self._handle: Any = None
        self._unsynced = 0

    def __enter__(self) -> Self:
        whole = size = 0
        if self.path.is_file():
            data = self.path.read_bytes()
            size = len(data)
            for line in data.splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                self._learn(line)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if whole < size:
                with self.path.open("r+b") as handle:
                    handle.truncate(whole)
            self._handle = self.path.open("ab", buffering=0)
        except OSError as problem:
            raise self._unwritable(problem) from problem
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> str | None:
        return self._known[key]

    def __len__(self) -> int:
        return len(self._known)

    def forget_failures(self) -> int:
        """Make recorded failures askable again in this process; returns how many there were."""
        failed = [key for key, text in self._known.items() if text is None]
        for key in failed:
            del self._known[key]
        return len(failed)

    def add(self, key: str, text: str | None) -> None:
        """Record an answer, or a failure if `text` is None.

        Raises:
            NlaeError: the disk is full; what was recorded before stays.
        """
        record = {"key": key, "failed": True} if text is None else {"key": key, "text": text}
        self._known[key] = text
        try:
            line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
            if self._handle.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._unsynced += 1
            if self._unsynced >= self.sync_every:
                os.fsync(self._handle.fileno())
                self._unsynced = 0
        except OSError as problem:
            raise self._unwritable(problem) from problem

    def _learn(self, line: bytes) -> None:
        try:
            record = parse_json(line)
            self._known[str(record["key"])] = None if record.get("failed") else str(record["text"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # a damaged line only costs one more question

    def _unwritable(self, problem: OSError) -> NlaeError:
        return NlaeError(
            f"cannot write {self.path}: {problem.strerror or problem}; free some space and run the command again"
        )
