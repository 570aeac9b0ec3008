"""The typed root of the configuration.

Stands first in the defaults list, so that a root key no dataclass field names is an error even in a YAML file. Group
nodes are open mappings here on purpose: a node with `_target_` is checked against that callable's signature, one
without against the shipped files of its group (`preflight`), which keeps one source of truth for each key.
"""

from dataclasses import dataclass, field
from typing import Any

# Taken from the command line as they are, before Hydra's grammar sees them: texts, and what holds one path.
PATHS = ("file", "messages", "vector", "checkpoint", "out")
VERBATIM = ("text", "query", "tokens", *PATHS)

# Last parts of the other keys that hold a path, or a list of them: Hydra gets these values quoted.
PATH_NAMES = ("artifacts", "cache_dir", "dataset", "dir", "directions", "model", "out", "paths", "save_dir", "sub_dir")


def _node() -> Any:
    return field(default_factory=dict)


@dataclass
class PathsConfig:
    """Where things are written; never part of a fingerprint."""

    artifacts: str = "artifacts"
    out: str | None = None


@dataclass
class RootConfig:
    """Everything a goal or service may be told; `nlae report --cfg job` prints it composed.

    Attributes:
        goal: set by the command line's first word.
        group: W&B group; null takes the name of the sweep or the experiment.
        seed: governs training and sampling; splits and positions have `corpus.seed`.
        checkpoint: folder or hub id of a trained autoencoder; no goal trains when it is set.
        file, text, messages, vector, query: what `explain` reads. `browse` and `dictionary query=…` read the dictionary
            in the folder `file`, if it is given.
        tokens, stride, samples, generate: which positions `explain` reads, how often, and tokens to generate first;
            `tokens` may be a regular expression (`[7]` is one, no list).
        out, format: where a service writes, and in which layout `export` does.
        port: where `browse` answers on this machine; 0 takes any that is free.
    """

    corpus: dict[str, Any] = _node()
    target: dict[str, Any] = _node()
    site: dict[str, Any] = _node()
    store: dict[str, Any] = _node()
    teacher: dict[str, Any] = _node()
    prompt: dict[str, Any] = _node()
    data: dict[str, Any] = _node()
    verbalizer: dict[str, Any] = _node()
    reconstructor: dict[str, Any] = _node()
    rollout: dict[str, Any] = _node()
    reward: dict[str, Any] = _node()
    objective: dict[str, Any] = _node()
    evaluation: dict[str, Any] = _node()
    dictionary: dict[str, Any] = _node()
    explain: dict[str, Any] = _node()
    report: dict[str, Any] = _node()
    trainer: dict[str, Any] = _node()
    optimizer: dict[str, Any] = _node()
    machine: dict[str, Any] = _node()
    callbacks: dict[str, Any] = _node()
    logger: dict[str, Any] = _node()
    paths: PathsConfig = field(default_factory=PathsConfig)
    goal: str | None = None
    group: str | None = None
    seed: int = 0
    checkpoint: str | None = None
    file: Any = None
    text: str | None = None
    messages: Any = None
    vector: Any = None
    query: str | None = None
    tokens: Any = None
    stride: int | None = None
    samples: int | None = None
    generate: int | None = None
    out: str | None = None
    format: str | None = None
    port: int = 0


ROOT_KEYS = tuple(RootConfig.__dataclass_fields__)
