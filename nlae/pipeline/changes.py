"""Why a stage is made anew: what its fingerprint covers now, beside the newest folder that was finished before.

Manifests hold what was hashed, so nothing is opened but small files. Folders without a manifest are left out: they say
what was asked for, not what was made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlae.files.foreign import parse_json
from nlae.pipeline.artifact import MANIFEST, Artifact
from nlae.tracking import redact

MOST = 6
WIDTH = 40


def what_changed(artifact: Artifact) -> str | None:
    """One line, e.g. `unlike 0f3a…: site.layer 19 → 6, version 1 → 2`; None when no other folder was finished."""
    before = newest(artifact)
    if before is None:
        return None
    # manifests are redacted: what differs in a secret alone differs in nothing that could be shown
    old, new = flat(redact(before["hashed"])), flat(redact(artifact.hashed))
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    if not names:
        return None
    parts = [_change(name, old, new) for name in names[:MOST]]
    more = f", and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"unlike {before['fingerprint']}: {', '.join(parts)}{more}"


def newest(artifact: Artifact) -> dict[str, Any] | None:
    """The manifest of the finished folder of this stage that was started last, this one's own left out."""
    found = []
    for path in sorted(artifact.folder.parent.glob(f"*/{MANIFEST}")):
        manifest = _read(path)
        if manifest.get("complete") and isinstance(manifest.get("hashed"), dict) and path.parent != artifact.folder:
            found.append(manifest)
    return max(found, key=lambda manifest: str(manifest.get("started", "")), default=None)


def flat(hashed: Mapping[str, Any]) -> dict[str, Any]:
    """What was hashed under the names that a user knows: config keys as they are typed, the rest named by kind."""
    out: dict[str, Any] = {"version": hashed.get("version")}
    for path, value in (hashed.get("config") or {}).items():
        _flatten(path, value, out)
    for name, value in {**(hashed.get("outside") or {}), **(hashed.get("sources") or {})}.items():
        out[f"content of {name}"] = value
    for name, value in (hashed.get("parents") or {}).items():
        out[f"parent {name}"] = value
    return out


def _flatten(path: str, value: Any, out: dict[str, Any]) -> None:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            _flatten(f"{path}.{key}", inner, out)
    else:
        out[path] = value


def _change(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return f"{name} {_short(name, old)} → {_short(name, new)}"


def _short(name: str, values: Mapping[str, Any]) -> str:
    if name not in values:
        return "(not there)"
    text = "null" if values[name] is None else " ".join(str(values[name]).split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
