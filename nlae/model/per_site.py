"""Parts that an autoencoder has once for each of its sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from nlae.errors import NlaeError

Part = TypeVar("Part")


def part_at(by_name: Mapping[str, Part], name: str | None) -> Part:
    """What belongs to one site; without a name, to the only one.

    Raises:
        NlaeError: there is no such site, or there are several and none is named.
    """
    if name is None and len(by_name) == 1:
        return next(iter(by_name.values()))
    if name is None:
        raise NlaeError(f"this autoencoder reads {len(by_name)} sites: name one, e.g. .at({next(iter(by_name))!r})")
    if name not in by_name:
        raise NlaeError(f"this autoencoder has no site {name}; it has {', '.join(by_name)}")
    return by_name[name]
