"""What a stage's output depends on, as one short hash.

Only plain values are hashed, in a canonical form, so that the order of keys and the number of a float's trailing zeros
change nothing. What a value stands for (weights, files, data sets) is hashed by its owner and comes in as a string.
"""

import hashlib
import inspect
import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from nlae.config.build import is_ours, locate, targets
from nlae.errors import NlaeError

LENGTH = 16

_MEMORY = "rows or tokens worked on together: memory and speed"
_KILL = "how much a kill costs"
_LABEL = "a label"
_PLACE = "a place; what lies there is hashed with what comes from outside"
_DEVICE = "where it runs"
_KEPT = "where texts are kept that it would write again"
_REMOTE = {
    "key_env": "where the key is read",
    "concurrency": "how many are asked at once",
    "timeout": "patience",
    "attempts": "patience",
    "backoff": "patience",
    "max_wait": "patience",
    "max_failed_share": "when to give up",
    "retry_failed": "patience",
    "yes": "consent",
    "usd_per_million_input": "an estimate's price",
    "usd_per_million_output": "an estimate's price",
}
_RECORDS = {"max_broken_share": "when to give up"}
_TRAINING = {"micro_tokens": _MEMORY}
_SERVER = {"base_url": "where the model is served", "headers": "what the server wants to let somebody in"}
_JUDGE = {"batch_size": _MEMORY, "device": _DEVICE}

# Settings that change how fast, in how much memory, where or how patiently something is done, but not what is asked
# for, with the reason. A finished stage is reused whatever they say; one that failed goes on in its folder with others.
# By the name of the class that a `_target_` names, or by the path of a node that has none: a key of the same name
# elsewhere is hashed. `tests/unit/pipeline/test_keys.py` asks of every key of every stage which kind it is.
NEVER_HASHED: dict[str, dict[str, str]] = {
    "FilesCorpus": _RECORDS,
    "HubCorpus": _RECORDS,
    "StdlibCorpus": _RECORDS,
    "extract": {"batch_tokens": _MEMORY},
    "explain": {"batch_size": _MEMORY, "table_rows": "rows printed; the files hold all"},
    "Prompt": {"name": _LABEL},
    "TinyTarget": {"name": _LABEL},
    "RandomTarget": {"name": _LABEL},
    "HubTarget": {"name": _LABEL},
    "WheelTarget": {
        "name": _LABEL,
        "cache_dir": "where weights are converted to; their hash is checked",
        "fetch": "whether they may be downloaded",
    },
    "ContextTeacher": {"batch_tokens": _MEMORY},
    "LocalTeacher": {"batch_size": _MEMORY, "device": _DEVICE, "max_failed_share": "when to give up"},
    "OpenAITeacher": _REMOTE | _SERVER,
    "AnthropicTeacher": _REMOTE | _SERVER,
    "Verbalizer": _TRAINING,
    "Reconstructor": _TRAINING,
    "ActivationDataModule": {"workers": "who reads"},
    "Reinforce": _TRAINING,
    "LocalRollout": {
        "batch_size": _MEMORY,
        "packed": "how weights lie in memory",
        "sync_every": "how often the host looks",
        "graphs": "how steps are launched",
    },
    "PlainRollout": {"batch_size": _MEMORY},
    "VllmRollout": {"batch_size": _MEMORY, "memory_share": _MEMORY, "devices": _DEVICE},
    "Evaluation": {"batch_size": _MEMORY},
    "KeptRefit": {"cache_dir": _KEPT},
    "Cross": {"cache_dir": _KEPT},
    "Paraphrase": {"cache_dir": _KEPT},
    "OpenAIParaphraser": _REMOTE | _SERVER,
    "DictionaryBuilder": {"directions": _PLACE},
    "Scanner": {"window_tokens": _MEMORY, "checkpoint_every": _KILL},
    "LocalJudge": _JUDGE,
    "SentenceEmbedder": {"device": _DEVICE},
    "OpenAIJudge": _REMOTE | _SERVER,
    "AnthropicJudge": _REMOTE | _SERVER,
}

# Callbacks of Lightning that watch, show or save. A callback from elsewhere says so itself: `observes_only = True`.
OBSERVERS = (
    "DeviceStatsMonitor",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",  # a fit that it ends is incomplete
)


def stripped(node: Any, path: str = "") -> Any:
    """`node`, which lies at the dotted `path` of a config, without the keys of `NEVER_HASHED`, at any depth."""
    if isinstance(node, Mapping):
        left_out = NEVER_HASHED.get(owner(node, path), {})
        return {str(key): stripped(value, f"{path}.{key}") for key, value in node.items() if key not in left_out}
    if isinstance(node, list | tuple):
        return [stripped(item, path) for item in node]
    return node


def owner(node: Mapping[Any, Any], path: str) -> str:
    """Whose keys these are: the class that `_target_` names (with its module where it is not ours), else the path."""
    name = str(node.get("_target_", path))
    return name.rpartition(".")[2] if "_target_" in node and is_ours(name) else name


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
    """The declared nodes of a resolved config, ready for `digest`; of `callbacks` those that change what is made."""
    found = {path: stripped(pick(config, path), path) for path in nodes}
    if "callbacks" in found:
        named = (found["callbacks"] or {}).items()
        built = {name: node for name, node in named if isinstance(node, Mapping) and "_target_" in node}
        found["callbacks"] = {name: node for name, node in built.items() if not observes_only(node["_target_"])}
    return found


def observes_only(name: Any) -> bool:
    """Whether a callback changes nothing of what is trained, by its class's own word or by the table of Lightning's."""
    kind = locate(name, "callbacks")
    lightnings = str(kind.__module__).startswith("pytorch_lightning.")
    return bool(getattr(kind, "observes_only", lightnings and kind.__name__ in OBSERVERS))


def foreign_sources(node: Any) -> dict[str, str]:
    """By name of each `_target_` outside this package, within a node: a hash of the module that defines it."""
    names = {str(found["_target_"]) for _, found in targets(node, "")}
    return {name: hash_source(name) for name in sorted(names) if not is_ours(name)}


def hash_source(name: str) -> str:
    """Hash of the source of the module that defines a class or function; for one without source, its version.

    What that module imports is not looked at.
    """
    found = locate(name, "fingerprint")
    module = str(found.__module__)
    try:
        return digest(inspect.getsource(inspect.getmodule(found) or found))
    except (OSError, TypeError):  # compiled
        package = name if module == "builtins" else module
        holders = metadata.packages_distributions().get(package.partition(".")[0], ())
        return ", ".join(f"{holder} {metadata.version(holder)}" for holder in holders) or platform.python_version()


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
        NlaeError: nothing of the kind is in the folder, or a file of it may not be read.
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
    try:
        return digest({str(path.relative_to(folder)): hash_file(path) for path in files})
    except OSError as error:
        reason = f"{error.filename} cannot be read ({error.strerror or error})"
        raise NlaeError(f"checkpoint={folder}: {reason}; check its permissions") from error
