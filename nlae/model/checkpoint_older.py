"""Checkpoints of schema 2, where one site (`role: pair`) and several (`mixture`) had two layouts, in that of today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

_PARTS = ("head", "map")
_OF_ONE = ("mean", "numbers")


def upgraded(meta: Mapping[str, Any]) -> dict[str, Any]:
    """A checked sidecar, its role and its sites as they are named today; others are returned as they are."""
    role = meta.get("role")
    if role not in ("pair", "mixture"):
        return dict(meta)
    found = {key: value for key, value in meta.items() if key not in ("site", "probe", "extraction", "tokens")}
    if role == "pair":
        scale = (meta.get("extraction") or {}).get("injection_scale")
        facts = {"injection_scale": scale, "tokens": meta.get("tokens"), "probe": meta.get("probe")}
        found["sites"] = [{**(meta.get("site") or {}), **facts}]
    return found | {"role": "autoencoder"}


def named_by_site(tensors: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Statistics, distractors or heads, by site; those of one site alone came without its name."""
    if len(names) > 1:
        return dict(tensors)
    (name,) = names
    found = {}
    for key, tensor in tensors.items():
        part, _, rest = key.partition(".")
        if key in _OF_ONE:
            key = f"{name}/{key}"
        elif key == "unit":
            key = name
        elif part in _PARTS and not rest.startswith(f"{name}."):
            key = f"{part}.{name}.{rest}"
        found[key] = tensor
    return found
