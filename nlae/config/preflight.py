"""Every typo found at once, before a model loads.

A node with `_target_` is bound to its callable's signature; a node without may only hold keys that some shipped file of
its group holds (a user's own files pick such keys, they add none). Of values only the kind is checked; their ranges are
left to the constructors, which know them.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nlae.config.argv import nearest
from nlae.config.build import locate
from nlae.errors import NlaeError

NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    types.NoneType: "null",
}
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
    problems += _type_problems(where, node, target)
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in node:
            problems.append(f"missing key {where}.{name} (needed by {node['_target_']})")
    return problems


def _type_problems(where: str, node: Mapping[str, Any], target: Callable[..., Any]) -> list[str]:
    """Values that a plainly typed argument (numbers, texts, flags, null) cannot take."""
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # types that are imported for the type checker only
        return []
    problems = []
    for key, value in node.items():
        hint = hints.get(key)
        kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        if all(kind in NAMES for kind in kinds) and not any(_fits(value, kind) for kind in kinds):
            wanted = " or ".join(NAMES[kind] for kind in kinds)
            problems.append(f"{where}.{key}={value} must be {wanted}")
    return problems


def _fits(value: Any, kind: Any) -> bool:
    if kind is float and isinstance(value, int):
        return not isinstance(value, bool)
    if kind is int and isinstance(value, bool):
        return False
    return isinstance(value, kind)


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
            into[key] = [*(into.get(key) or []), value]


def _kind_of(shipped: list[Any]) -> type | None:
    """The kind that a key's shipped values have in common when they are all numbers or all flags."""
    for kind in (bool, int, float):
        if all(_fits(value, kind) for value in shipped):
            return kind
    return None


def _key_problems(where: str, node: Mapping[str, Any], shape: Mapping[str, Any]) -> list[str]:
    if where in FREE or "_target_" in node:
        return []
    problems = []
    for key, value in node.items():
        if key not in shape:
            problems.append(f"unknown key {where}.{key}{nearest(str(key), [str(name) for name in shape])}")
        elif isinstance(value, Mapping) and isinstance(shape[key], Mapping):
            problems += _key_problems(f"{where}.{key}", value, shape[key])
        elif isinstance(shape[key], list):
            kind = _kind_of(shape[key])
            if kind is not None and not _fits(value, kind):
                problems.append(f"{where}.{key}={value} must be {NAMES[kind]}")
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
