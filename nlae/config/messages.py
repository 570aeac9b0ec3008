"""One readable line for each way in which composing can fail.

Hydra's own messages run over several lines and never suggest; what they mean is worked out again here from the
overrides.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf

from nlae.config.argv import nearest
from nlae.config.schema import ROOT_KEYS

MOST = 4  # more suggestions than these help nobody


def _flat(node: Any, prefix: str = "") -> list[str]:
    keys = []
    for key, value in node.items() if isinstance(node, Mapping) else ():
        keys.append(f"{prefix}{key}")
        keys += _flat(value, f"{prefix}{key}.")
    return keys


def _options(group: str, overrides: Sequence[str]) -> list[str]:
    """Options of a group, those in the user's own folders included."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    found = set(hydra.config_loader.get_group_options(group))
    for override in OverridesParser.create().parse_overrides(_own(overrides)):
        places: Any = override.value()
        for place in places:
            folder = Path(str(place).removeprefix("file://")) / group
            found |= {path.stem for path in folder.glob("*.yaml")}
    return sorted(found)


def _own(overrides: Sequence[str]) -> list[str]:
    return [override for override in overrides if override.startswith("hydra.searchpath")]


def _known(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Valid keys and groups of what was chosen, the user's own folder included; of the default where that fails."""
    cfg = compose("config", _own(overrides), return_hydra_config=True)
    groups = [str(name) for name in cfg.hydra.runtime.choices if not str(name).startswith("hydra")]
    chosen = [
        str(override.input_line)
        for override in OverridesParser.create().parse_overrides(list(overrides))
        if override.key_or_group in groups and not override.is_sweep_override()
    ]
    with contextlib.suppress(HydraException, ValueError):  # one of them is what is wrong
        cfg = compose("config", [*_own(overrides), *chosen])
    plain = OmegaConf.to_container(cfg, resolve=False)
    return [key for key in _flat(plain) if not key.startswith("hydra.")], groups


def _blame(overrides: Sequence[str]) -> str | None:
    """The first override that names something unknown, explained."""
    keys, groups = _known(overrides)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if key.startswith("hydra"):
            continue
        if key in groups and not override.is_delete():
            options = _options(key, overrides)
            chosen = override.get_value_element_as_str() if not override.is_sweep_override() else ""
            if chosen and chosen not in options:
                return f"{key}={chosen}: no such option{nearest(chosen, options)} (there are: {', '.join(options)})"
        elif key not in keys and not any(known.startswith(f"{key}.") for known in keys):
            meant = by_tail(key, keys) or nearest(key, keys + groups) or "; `nlae report --cfg job` lists them"
            return f"unknown key or group '{key}'{meant}"
    return None


def by_tail(key: str, keys: Sequence[str]) -> str:
    """`; did you mean …?` for keys whose last part has that of `key` as a word: in the same node first, then anywhere.

    `objective.lr` is short for two keys beside it, and close in spelling to none.
    """
    node, _, tail = key.rpartition(".")
    named = [(known, *known.rpartition(".")[::2]) for known in keys]
    beside = [known for known, parent, last in named if parent == node and tail in last.split("_")]
    found = beside or [known for known, _, last in named if last == tail]
    if not found or len(found) > MOST:
        return ""
    return f"; did you mean {' or '.join(repr(known) for known in found)}?"


def explain_failure(error: Exception, overrides: Sequence[str]) -> str:
    """What went wrong in composing, in one line; call while Hydra is initialised."""
    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        word = error.override
        return f"cannot read the override {word!r}: quote it, or use text= (verbatim) or a config file for free text"
    if "Ambiguous value" in text:
        word = text.partition("argument '")[2].partition("' ")[0]
        return f"{word}: several values; add -m for one job each, or brackets for one list"
    try:
        blamed = _blame(overrides)
    except HydraException:
        blamed = None
    if blamed is None and error.__cause__ is not None:
        text += ": " + " ".join(str(error.__cause__).split())
    if blamed is None and (found := re.search(r"override (\S+): .* could not be converted to (\w+)", text)):
        return f"{found[1]}: expected {'a whole number' if found[2] == 'Integer' else f'a {found[2].lower()}'}"
    return blamed or f"config: {text}{_nearest_root(text)}"


def _nearest_root(text: str) -> str:
    """A root key that a config file misspells, mended."""
    wrong = re.search(r"Key '(\w+)' (?:not in|is not in struct)", text)
    return nearest(wrong.group(1), ROOT_KEYS) if wrong else ""
