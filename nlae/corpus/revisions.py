"""Which commit a branch of the hub last stood for, remembered for the day without a network.

A finished corpus is kept under the commit it was read at; without this note an offline command could not say which
commit that was, and would find nothing to reuse. Texts and weights are not kept here.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from nlae.files.foreign import parse_json


def remember(dataset: str, revision: str | None, commit: str) -> None:
    """Note that `revision` of `dataset` is `commit` today; a cache that cannot be written is no error."""
    path = _file()
    notes = {**_read(path), _key(dataset, revision): {"commit": commit, "on": time.strftime("%Y-%m-%d")}}
    new = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(notes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)


def recall(dataset: str, revision: str | None) -> tuple[str, str] | None:
    """The commit that was last noted, and on which day; None when there is no note."""
    note = _read(_file()).get(_key(dataset, revision))
    return None if note is None else (note["commit"], note["on"])


def _key(dataset: str, revision: str | None) -> str:
    return f"{dataset}@{revision or ''}"


def _file() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root).expanduser() / "nlae" / "revisions.json"


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
