"""The evaluation that `conf/evaluation` lists, with other settings for some of its measures."""

from __future__ import annotations

import copy
import functools
from typing import Any

from nlae.config.build import locate
from nlae.config.compose import compose_plain
from nlae.evaluation import Evaluation


@functools.cache
def _shipped() -> dict[str, Any]:
    node: dict[str, Any] = compose_plain([]).config["evaluation"]
    return node


def evaluation(changes: dict[str, dict[str, Any] | None] | None = None, **settings: Any) -> Evaluation:
    """Every shipped measure; `changes` are settings of measures by name, None leaves one out."""
    node = copy.deepcopy(_shipped())
    changed = {name: {} if given is None else given for name, given in node["measures"].items()}
    left_out = {name for name, given in (changes or {}).items() if given is None}
    assert left_out <= changed.keys()
    for name, given in (changes or {}).items():
        changed[name] |= given or {}
    built = {name: _built(given) for name, given in changed.items() if name not in left_out}
    own = {key: value for key, value in node.items() if key not in ("_target_", "measures")}
    return Evaluation(built, **{**own, **settings})


def _built(node: Any) -> Any:
    """What a node's `_target_` names, its arguments built first."""
    if not isinstance(node, dict):
        return node
    given = {key: _built(value) for key, value in node.items() if key != "_target_"}
    return locate(node["_target_"], "evaluation")(**given) if "_target_" in node else given
