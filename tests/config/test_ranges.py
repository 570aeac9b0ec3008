"""Every number of every shipped config option: what is out of its range, or no number, is refused in one line."""

import inspect
import math
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nlae.config.build import is_ours, locate
from nlae.config.compose import conf_dir
from nlae.config.preflight import _hints, _parts, preflight
from nlae.config.ranges import RANGES, number_problems, range_of
from nlae.config.schema import RootConfig
from nlae.errors import NlaeError

CONF = conf_dir()
SKIPPED = ("experiment", "sweep", "debug", "launcher")  # they hold keys of the others
# keys that may be negative, and why
NEGATIVE = {
    "reward.failure": "a punishment",
    "explain.strengths": "against the direction",
    "verbalizer.injection.point": "a block's index, which the model checks",
    "explain.tokens": "an index from the end, or a text",
}
FILES = [path for path in sorted(CONF.rglob("*/*.yaml")) if path.relative_to(CONF).parts[0] not in SKIPPED]


def numeric(node: dict[str, Any], where: str) -> Iterator[tuple[str, str, bool]]:
    """(node, key, whether it is whole) of every number, those that are null or left out included."""
    seen = {}
    if not is_ours(node.get("_target_", "nlae.")):
        return
    for key, value in node.items():
        if isinstance(value, dict):
            yield from numeric(value, f"{where}.{key}" if where else key)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, int | float) and not isinstance(first, bool):
            seen[key] = isinstance(first, int)
    if "_target_" in node:
        target = locate(node["_target_"], where)
        for name in inspect.signature(target).parameters:
            parts = _parts(_hints(target).get(name))
            parts = tuple(hint for hint in parts if typing.get_origin(hint) is not Callable)
            kinds = {part for hint in parts for part in (hint, *getattr(hint, "__args__", ()))}
            if kinds & {int, float} and str not in kinds - {*parts}:
                seen[name] = float not in kinds
    for key, whole in seen.items():
        yield where, key, whole


def option_of(path: Path) -> str:
    return path.relative_to(CONF).with_suffix("").as_posix()


def loaded(option: str) -> dict[str, Any]:
    """The node of an option, at its place in a config."""
    node = yaml.safe_load((CONF / f"{option}.yaml").read_text(encoding="utf-8"))
    node.pop("defaults", None)
    for part in reversed(option.split("/")[:-1]):
        node = {part: node}
    return node


CASES = {option: list(numeric(loaded(option), "")) for option in map(option_of, FILES)}
KEYS = {f"{where}.{key}" for cases in CASES.values() for where, key, _ in cases}


def said(option: str, changes: dict[tuple[str, str], Any]) -> str:
    """What preflight says of an option with keys changed."""
    config = loaded(option)
    for (where, key), value in changes.items():
        inner = config
        for part in where.split("."):
            inner = inner[part]
        inner[key] = [value] if isinstance(inner.get(key), list) else value
    try:
        preflight(config, CONF)
    except NlaeError as error:
        return str(error)
    return ""


def test_there_are_many():
    assert sum(map(len, CASES.values())) > 200
    assert {key.split(".")[0] for key in KEYS} >= {"store", "data", "corpus", "dictionary", "teacher", "objective"}


@pytest.mark.parametrize("option", [option for option, cases in CASES.items() if cases])
@pytest.mark.parametrize("value", [-5, math.nan, math.inf, 1e30, 10**30, 0.5, True, "many"])
def test_what_is_out_of_range_or_no_number_is_refused(option, value):
    changes = {(where, key): value for where, key, whole in CASES[option] if whole or value not in (0.5, True)}
    for where, key in list(changes):
        if f"{where}.{key}" in NEGATIVE and value in (-5, 10**30, "many"):
            del changes[where, key]
    text = said(option, changes)
    missed = [f"{where}.{key}" for where, key in changes if f"{where}.{key}" not in text and f"{where}={{" not in text]
    assert missed == []


@pytest.mark.parametrize("key", sorted(NEGATIVE))
def test_what_may_be_negative_is_a_key(key):
    assert key in KEYS


def test_no_range_is_for_a_key_that_is_gone():
    known = KEYS | {key.rpartition(".")[2] for key in KEYS}
    known |= set(RootConfig.__dataclass_fields__)
    gone = {name for name in RANGES if name not in known}
    assert gone <= {"panels", "runs", "machine.threads", "prompt.style.max_words", "site.depth", "site.depths"}


@pytest.mark.parametrize("key", ["stride", "samples"])
def test_root_keys_have_ranges_too(key):
    with pytest.raises(NlaeError, match=f"{key}=0 must be at least 1"):
        preflight({key: 0}, CONF)
    with pytest.raises(NlaeError, match="port=70000"):
        preflight({"port": 70000}, CONF)
    assert range_of("dictionary.scan.panels.train").low == 1


@pytest.mark.parametrize("value", ["many", 0, -5, 1.5, True])
def test_threads_are_a_whole_number(value):
    assert "machine.threads=" in said("machine/default", {("machine", "threads"): value})
    assert said("machine/default", {("machine", "threads"): None}) == ""


def test_numbers_of_others_classes_have_ranges_of_their_own():
    mine = {"_target_": "mine.Reward", "weight": -1.0, "top": 0, "worst": math.nan}
    ours = {"_target_": "nlae.training.reward.Fidelity", "weight": -1.0}
    problems = list(number_problems({"reward": {"mine": mine, "fidelity": ours}}))
    assert problems == [
        "reward.mine.worst=nan must be a finite number",
        "reward.fidelity.weight=-1.0 must be at least 0",
    ]
