"""Every typo found at once, before a model loads.

A node with `_target_` is bound to its callable's signature; a node without may only hold keys that some shipped file of
its group holds (a user's own files pick such keys, they add none). Values are left to the constructors, which know
their ranges.
"""

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nlae.config.argv import nearest
from nlae.config.build import locate
from nlae.errors import NlaeError

# Arguments that a stage passes when it builds the node.
LATE: dict[str, tuple[str, ...]] = {}
# Mappings whose keys are names that the user chooses.
FREE = ("callbacks", "reward", "prompt.style", "teacher.headers", "logger.tags")


def _targets(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from _targets(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{where}[{index}]")


def signature_problems(where: str, node: Mapping[str, Any]) -> list[str]:
    """What `node` would be refused for by the callable that it names, one line each."""
    try:
        target = locate(node["_target_"], where)
    except NlaeError as error:
        return [str(error)]
    parameters = inspect.signature(target).parameters
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    problems = []
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        unknown = [key for key in node if key not in named and key not in ("_target_", "_partial_")]
        problems += [f"unknown key {where}.{key}{nearest(key, list(named))}" for key in unknown]
    late = LATE.get(where, ())
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in node and name not in late:
            problems.append(f"missing key {where}.{name} (needed by {node['_target_']})")
    return problems


@cache
def _shape(group: str, folders: tuple[Path, ...]) -> dict[str, Any]:
    """Union of the keys of all files of a group, nested."""
    import yaml

    shape: dict[str, Any] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            _merge(shape, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    shape.pop("defaults", None)
    return shape


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping):
            current = into.get(key)
            if not isinstance(current, dict):
                current = into[key] = {}
            _merge(current, value)
        elif not isinstance(into.get(key), dict):
            into[key] = None


def _key_problems(where: str, node: Mapping[str, Any], shape: Mapping[str, Any]) -> list[str]:
    if where in FREE or "_target_" in node:
        return []
    problems = []
    for key, value in node.items():
        if key not in shape:
            problems.append(f"unknown key {where}.{key}{nearest(str(key), [str(name) for name in shape])}")
        elif isinstance(value, Mapping) and isinstance(shape[key], Mapping):
            problems += _key_problems(f"{where}.{key}", value, shape[key])
    return problems


def preflight(config: Mapping[str, Any], conf: Path) -> None:
    """Check the whole resolved config.

    Args:
        config: plain, resolved.
        conf: the shipped config folder.

    Raises:
        NlaeError: one line with every unknown and missing key, each with the nearest valid name.
    """
    problems: list[str] = []
    for where, node in _targets(config, ""):
        problems += signature_problems(where, node)
    for name, node in config.items():
        if name == "objective":
            for stage, settings in node.items():
                problems += _key_problems(f"objective.{stage}", settings, _shape(f"objective/{stage}", (conf,)))
        elif isinstance(node, Mapping) and (conf / name).is_dir():
            problems += _key_problems(name, node, _shape(name, (conf,)))
    if problems:
        raise NlaeError("config: " + "; ".join(dict.fromkeys(problems)))
