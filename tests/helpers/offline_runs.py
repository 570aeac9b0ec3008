"""Offline W&B runs: opened for a made-up stage, and read back from their files by W&B's own reader."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from nlae.tracking import open_run

CONFIG = {"seed": 3, "teacher": {"_target_": "nlae.teacher.OpenaiTeacher", "api_key": "sk-very-secret"}}


def records(directory: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(directory)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in found if record.get("type") == kind]


def open_one(place: Path, stage: str = "warmstart", late: bool = False, **how: Any) -> Any:
    return open_run(
        settings={"mode": "offline", "project": "nlae", "entity": None, "dir": str(place)},
        stage=stage,
        group="quickstart",
        fingerprint="abcdef0123456789",
        parents={"extract": "00ff"},
        config=CONFIG,
        late=late,
        **how,
    )
