"""What a stage's output depends on, as one short hash.

Only plain values are hashed, in a canonical form, so that the order of keys and the number of a float's trailing zeros
change nothing. What a value stands for (weights, files, data sets) is hashed by its owner and comes in as a string.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nlae.errors import NlaeError

LENGTH = 16

# Settings that may change how fast or where something runs, how it is called or how patiently it is tried, but not what
# is asked for. A finished stage is reused whatever they say; one that failed goes on in its folder with other values.
NEVER_HASHED = frozenset(
    {
        "name",
        "batch_tokens",
        "micro_tokens",
        "packed",
        "sync_every",
        "graphs",
        "memory_share",
        "device",
        "concurrency",
        "yes",
        "timeout",
        "attempts",
        "backoff",
        "max_wait",
        "max_failed_share",
        "max_broken_share",
        "retry_failed",
        "key_env",
        "checkpoint_every",
        "directions",  # a path; the content is hashed with what comes from outside
        "usd_per_million_input",
        "usd_per_million_output",
    }
)


def stripped(node: Any) -> Any:
    """`node` without the keys that are never hashed, at any depth."""
    if isinstance(node, Mapping):
        return {str(key): stripped(value) for key, value in node.items() if key not in NEVER_HASHED}
    if isinstance(node, list | tuple):
        return [stripped(item) for item in node]
    return node


def canonical(value: Any) -> str:
    """One text for equal values: sorted keys, `1.0` and `1` alike."""

    def plain(item: Any) -> Any:
        if isinstance(item, bool) or item is None or isinstance(item, str | int):
            return item
        if isinstance(item, float):
            return int(item) if item.is_integer() else item
        if isinstance(item, Mapping):
            return {str(key): plain(item[key]) for key in item}
        if isinstance(item, list | tuple):
            return [plain(entry) for entry in item]
        raise TypeError(f"a {type(item).__name__} cannot be hashed")

    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: Any) -> str:
    """Short hash of a plain value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:LENGTH]


def pick(config: Mapping[str, Any], path: str) -> Any:
    """The node at a dotted path; None where there is none."""
    node: Any = config
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node


def declared(config: Mapping[str, Any], nodes: Iterable[str]) -> dict[str, Any]:
    """The declared nodes of a resolved config, ready for `digest`."""
    return {path: stripped(pick(config, path)) for path in nodes}


def hash_file(path: Path, chunk: int = 1 << 22) -> str:
    """SHA-256 of a file's content."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(chunk):
            state.update(block)
    return state.hexdigest()


def hash_checkpoint(folder: Path) -> str:
    """Short hash of the files that make a checkpoint what it is: sidecars, configs, weights, tokenizers.

    Raises:
        NlaeError: nothing of the kind is in the folder.
    """
    kinds = {".safetensors", ".yaml", ".json", ".jinja", ".model", ".txt"}
    skip = {"manifest.json", "metrics.json", "config.yaml"}
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in kinds and path.name not in skip and "resume" not in path.parts
    ]
    if not any(path.suffix == ".safetensors" for path in files):
        raise NlaeError(f"checkpoint={folder}: no safetensors in it; give the folder of a warmstart or reinforce stage")
    return digest({str(path.relative_to(folder)): hash_file(path) for path in files})
