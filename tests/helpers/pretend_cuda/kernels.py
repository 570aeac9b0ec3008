"""For each operator of torch whether a CUDA build has a kernel, from torch's own list (native_functions.yaml)."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from pretend_cuda.guard import kept


def has_kernel(namespace: str, full: str) -> bool:
    """Whether CUDA runs the operator `full` (`add.Tensor`, `relu`); operators that are not torch's own pass."""
    return namespace != "aten" or table().get(full, True)


@functools.cache
def table() -> dict[str, bool]:
    """Every overload of aten; reading torch's list takes seconds, so the answer is kept."""
    keep = kept() / "kernels.json"
    if keep.exists():
        return dict(json.loads(keep.read_text()))
    import torchgen
    import yaml

    assert torchgen.__file__ is not None
    listed = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
    entries = {entry["func"].split("(")[0]: entry for entry in yaml.safe_load(listed.read_text())}
    found = {full: _has(full, entries) for full in entries}
    unfinished = keep.with_suffix(".tmp")
    unfinished.write_text(json.dumps(found))
    unfinished.replace(keep)
    return found


def _has(full: str, entries: dict[str, dict[str, Any]]) -> bool:
    entry = entries[full]
    if "structured_delegate" in entry:
        return _has(entry["structured_delegate"], entries)
    if "ufunc_inner_loop" in entry:
        return True
    keys = {key.strip() for keys in entry.get("dispatch", {"CompositeImplicitAutograd": ""}) for key in keys.split(",")}
    return "CUDA" in keys or any(key.startswith("Composite") for key in keys)
