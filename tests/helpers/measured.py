"""The evaluation that `conf/evaluation` lists, with other settings for some of its measures."""

from __future__ import annotations

from typing import Any

import yaml

from nlae.config.compose import conf_dir
from nlae.evaluation import Evaluation, measures


def evaluation(changes: dict[str, dict[str, Any] | None] | None = None, **settings: Any) -> Evaluation:
    """Every shipped measure; `changes` are settings of measures by name, None leaves one out."""
    node = yaml.safe_load((conf_dir() / "evaluation" / "default.yaml").read_text(encoding="utf-8"))
    changed = {name: {} if given is None else given for name, given in node["measures"].items()}
    left_out = {name for name, given in (changes or {}).items() if given is None}
    assert left_out <= changed.keys()
    for name, given in (changes or {}).items():
        changed[name] |= given or {}
    built = {
        name: getattr(measures, given.pop("_target_").rpartition(".")[2])(**given)
        for name, given in changed.items()
        if name not in left_out
    }
    own = {key: value for key, value in node.items() if key not in ("_target_", "measures")}
    return Evaluation(built, **{**own, **settings})
