"""One stage's folder: complete or not, locked by whom, sealed with metrics and a manifest.

The manifest is written last and by rename, so a folder with one is whole. A lock lies beside the folder and dies with
its holder; who holds it is told by a small file next to it, which is only ever read to tell the user.
"""

import json
import logging
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nlae.errors import NlaeError
from nlae.files.arrow import write_text
from nlae.files.foreign import parse_json
from nlae.tracking import redact, versions

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
RESUME = ("resume", "resume.old", "resume.new")  # `objective.resuming` and the scan write them


@dataclass
class Artifact:
    """What a stage is to make, and where.

    Attributes:
        stage: its name.
        fingerprint: hash of all that it depends on.
        folder: `artifacts/<stage>/<fingerprint>`.
        parents: name -> fingerprint.
        hashed: what went into the fingerprint, for people who wonder why it changed.
    """

    stage: str
    fingerprint: str
    folder: Path
    parents: dict[str, str] = field(default_factory=dict)
    hashed: dict[str, Any] = field(default_factory=dict)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a complete folder, else None.

        Raises:
            NlaeError: the folder was complete and one of its files was cut or lost since.
        """
        try:
            found = parse_json((self.folder / MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return None
        if not found.get("complete") or found.get("fingerprint") != self.fingerprint:
            return None
        for name, size in found.get("files", {}).items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size:
                what = "is missing" if not path.is_file() else f"has {path.stat().st_size} bytes instead of {size}"
                raise NlaeError(f"{path} {what}: delete {self.folder} and run the same command again to rebuild it")
        result: dict[str, Any] = found
        return result

    def is_complete(self) -> bool:
        """Whether the folder holds everything; nothing but small files is read."""
        return self.manifest() is not None

    def metrics(self) -> dict[str, float]:
        """Figures of a complete folder; NaN for one that is undefined, which `metrics.json` writes as null."""
        found = parse_json((self.folder / "metrics.json").read_text(encoding="utf-8"))
        return {name: math.nan if value is None else value for name, value in found.items()}

    def seal(self, metrics: Mapping[str, float], started: float, extra: Mapping[str, Any]) -> None:
        """Write metrics, then the manifest that makes the folder complete."""
        write_text(self.folder / "metrics.json", json.dumps(flat_numbers(metrics), indent=1, sort_keys=True) + "\n")
        manifest = {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "parents": self.parents,
            "hashed": redact(self.hashed),
            **redact(extra),
            "versions": versions(),
            "commit": commit(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "wall_seconds": round(time.time() - started, 3),
            "peak_memory_bytes": peak_memory(),
            "files": self._files(),
            "complete": True,
        }
        write_text(self.folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")

    def drop_resume(self) -> None:
        """Delete what only an unfinished stage goes on from: optimizer states and a second copy of what is trained."""
        for name in RESUME:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _files(self) -> dict[str, int]:
        inside = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.is_symlink())
        return {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in inside
            if path.name != MANIFEST
            and not path.name.startswith(".")
            and not {"wandb", *RESUME} & set(path.relative_to(self.folder).parts)
        }

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this fingerprint; while another job has it, wait and say for whom."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_name(f"{self.fingerprint}.lock"))
        holder = self.folder.with_name(f"{self.fingerprint}.holder")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.warning("%s %s: waiting for %s", self.stage, self.fingerprint, _read(holder) or "another job")
            lock.acquire(poll_interval=0.2)
        try:
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            write_text(holder, f"process {os.getpid()} on {platform.node()}, since {started}")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def flat_numbers(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics as they may be stored: flat and finite; an undefined figure keeps its key and is null.

    Raises:
        TypeError: a value that is no number at all, which is a mistake in the stage.
    """
    result: dict[str, float | None] = {}
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"metric {name} is a {type(value).__name__}, not a number")
        if math.isinf(value):
            log.warning("metric %s is %s: null in metrics.json", name, value)
        result[str(name)] = value if math.isfinite(value) else None
    return result


def commit() -> str | None:
    """Commit of the checkout that runs, `+` after it when files differ; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else None


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
