"""Every typo found at once, before a model loads.

A node with `_target_` is bound to its callable's signature; a node without may only hold keys that some shipped file of
its group holds (a user's own files pick such keys, they add none). Of values the kind is checked, and of numbers the
range (`ranges`); what depends on several keys is left to the constructors.
"""

import contextlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nlae.config.argv import nearest
from nlae.config.build import HYDRAS, locate, targets
from nlae.config.ranges import number_problems
from nlae.errors import NlaeError

NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    types.NoneType: "null",
}
_PLURALS: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "texts"}
_LISTS = (list, tuple, Sequence)
# Mappings whose keys are names that the user chooses.
FREE = ("callbacks", "reward", "prompt.style", "teacher.headers", "logger.tags", "logger.lightning")


def signature_problems(where: str, node: Mapping[str, Any]) -> list[str]:
    """What `node` would be refused for by the callable that it names, one line each."""
    try:
        target = locate(node["_target_"], where)
    except NlaeError as error:
        return [str(error)]
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # written in C
        return []
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    problems = []
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        unknown = [key for key in node if key not in named and key not in HYDRAS]
        problems += [f"unknown key {where}.{key}{nearest(str(key), list(named))}" for key in unknown]
    for key, hint in _hints(target).items():  # plain types: numbers, texts, flags, null, lists of them
        default = key in node and type(node[key]) is type(named[key].default) and node[key] == named[key].default
        if key in node and not default and not _fits(node[key], hint):
            problems.append(f"{where}.{key}={node[key]} must be {_in_words(hint)}")
    if node.get("_partial_") or "_args_" in node:  # a stage adds what exists only at run time
        return problems
    missing = [name for name, value in named.items() if value.default is value.empty and name not in node]
    return [*problems, *(f"missing key {where}.{name} (needed by {node['_target_']})" for name in missing)]


@cache
def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Types of the arguments, without those whose names are imported for the type checker only."""
    parameters = inspect.signature(target).parameters.items()
    annotations = {
        name: item.annotation for name, item in parameters if item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL)
    }
    owners = inspect.getmro(target) if inspect.isclass(target) else (target,)
    hints = {}
    for name, annotation in annotations.items():
        for owner in owners if isinstance(annotation, str) else ():
            with contextlib.suppress(NameError, TypeError, AttributeError):
                annotation = eval(annotation, vars(sys.modules[owner.__module__]))  # noqa: S307 - a source that is run anyway
                break
        if not isinstance(annotation, str) and annotation is not inspect.Parameter.empty:
            hints[name] = annotation
    return hints


def _parts(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of a type; one that is none of the plain ones takes all, and any takes objects."""
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    if hint in (None, types.NoneType):
        return value is None
    if hint is float and isinstance(value, int):
        return not isinstance(value, bool)
    if hint is int and isinstance(value, bool):
        return False
    if hint in NAMES:
        return isinstance(value, hint)
    if len(_parts(hint)) > 1:
        return any(_fits(value, part) for part in _parts(hint))
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in _LISTS and inner:
        return isinstance(value, list | tuple) and all(_fits(item, inner[0]) for item in value)
    if typing.get_origin(hint) is Mapping and inner:
        return isinstance(value, Mapping) and all(_fits(item, inner[1]) for item in value.values())
    return True


def _in_words(hint: Any) -> str:
    names = []
    for part in _parts(hint):
        inner = typing.get_args(part)
        many = "a mapping to" if typing.get_origin(part) is Mapping else "a list of"
        names.append(NAMES.get(part) or f"{many} {_PLURALS.get(inner[-1] if inner else None, 'values')}")
    return " or ".join(names)


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


def _without_class(config: Mapping[str, Any]) -> list[str]:
    """Parts by name that are no part: each needs a class, or null to be left out."""
    by_name = {
        "callbacks": config.get("callbacks"),
        "evaluation.measures": (config.get("evaluation") or {}).get("measures"),
        "reward.terms": (config.get("reward") or {}).get("terms"),
    }
    return [
        f"{where}.{name} names no class: give it a _target_, or set it to null"
        for where, parts in by_name.items()
        for name, node in (parts or {}).items()
        if node is not None and not (isinstance(node, Mapping) and "_target_" in node)
    ]


def preflight(config: Mapping[str, Any], conf: Path) -> None:
    """Check the whole resolved config.

    Args:
        config: plain, resolved.
        conf: the shipped config folder.

    Raises:
        NlaeError: one line with every unknown and missing key, each with the nearest valid name.
    """
    problems: list[str] = []
    for where, node in targets(config, ""):
        problems += signature_problems(where, node)
    for name, node in config.items():
        if isinstance(node, Mapping) and (conf / name).is_dir():
            shape = _shape(name, (conf,))
            problems += _key_problems(name, node, shape)
            if "_target_" in shape and "_target_" not in node:
                problems.append(f"{name} is left out: choose an option of the group, or give it a _target_")
    problems += _without_class(config)
    wrong = " ".join(problems)
    problems += [problem for problem in number_problems(config) if f"{problem.partition('=')[0]}=" not in wrong]
    if problems:
        raise NlaeError("config: " + "; ".join(dict.fromkeys(problems)))
