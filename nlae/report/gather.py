"""Reads the folders that stages left behind, into plain values; a file that a stage does not write is simply absent.

Nothing here loads a model or a tokenizer, so a report is made in a second and from folders that came from elsewhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlae.errors import NlaeError
from nlae.files.foreign import parse_json, read_yaml

SUBJECT = "subject"
TRAINED = ("verbalizer", "reconstructor", "warmstart", "reinforce")
ORDER = ("corpus", "extract", "describe", *TRAINED, SUBJECT, "evaluate", "report")


@dataclass(frozen=True)
class StageFiles:
    """What one stage left.

    Attributes:
        name: of the stage.
        folder: where it lies.
        metrics: its flat numbers.
        manifest: fingerprint, parents, versions, commit, wall time; empty when there is none.
        config: the resolved config that it ran with.
        history: points of its learning curves.
    """

    name: str
    folder: Path
    metrics: dict[str, float] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float | None]] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """Of the manifest, else the folder's name."""
        return str(self.manifest.get("fingerprint") or self.folder.name)


def gather(folders: Mapping[str, Path]) -> dict[str, StageFiles]:
    """The stages that `folders` names, and the trained ones that they were made from where those still lie beside them.

    Raises:
        NlaeError: there is no finished evaluation among them, or one of its files is broken.
    """
    found = {name: _stage(name, Path(folder)) for name, folder in folders.items()}
    if "evaluate" not in found or not found["evaluate"].metrics:
        raise NlaeError("report: no finished evaluation to report on; run `nlae evaluate` with the same settings")
    waiting = list(found.values())
    while waiting:
        stage = waiting.pop(0)
        for name, fingerprint in (stage.manifest.get("parents") or {}).items():
            beside = stage.folder.parent.parent / name / str(fingerprint)
            if name in TRAINED and name not in found and beside.is_dir():
                found[name] = _stage(name, beside)
                waiting.append(found[name])
    return {name: found[name] for name in (*ORDER, *sorted(found.keys() - set(ORDER))) if name in found}


def read_json(path: Path, default: Any) -> Any:
    """The content of a JSON file, or `default` when there is none.

    Raises:
        NlaeError: the file is not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except json.JSONDecodeError as error:
        raise NlaeError(
            f"report: {path} is not JSON ({error.msg}); delete its folder and run its stage again"
        ) from error


def plain_path(text: str) -> str:
    """`text` without the folders of this machine: a page is passed on."""
    return re.sub(r"(?<![\w.])/(?:[^\s/'\"]+/)+(?=[^\s/'\"]+)", "…/", text)


def _stage(name: str, folder: Path) -> StageFiles:
    metrics = read_json(folder / "metrics.json", {})
    return StageFiles(
        name,
        folder,
        {key: math.nan if value is None else float(value) for key, value in metrics.items()},
        read_json(folder / "manifest.json", {}),
        _config(folder / "config.yaml"),
        _history(folder / "history.jsonl"),
    )


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = read_yaml(path)
    except ValueError as error:
        raise NlaeError(f"report: {path} is not YAML ({error}); delete its folder and run its stage again") from error
    return found if isinstance(found, dict) else {}


def _history(path: Path) -> list[dict[str, float | None]]:
    if not path.is_file():
        return []
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            point = parse_json(line)
        except json.JSONDecodeError:  # a kill cuts the last line short
            break
        if isinstance(point, dict) and isinstance(point.get("update"), int):
            points.append(point)
    return points
