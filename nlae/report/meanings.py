"""What each number means, in one line; the texts and their order are data, in `meanings.yaml`."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import yaml


@functools.cache
def table() -> list[dict[str, str]]:
    """Entries of `meanings.yaml`: key (a pattern), label, meaning."""
    found: list[dict[str, str]] = yaml.safe_load(Path(__file__).with_name("meanings.yaml").read_text(encoding="utf-8"))
    return found


def order(name: str) -> tuple[int, int]:
    """Where a metric stands in the table; unknown ones come last."""
    for i, entry in enumerate(table()):
        match = re.fullmatch(entry["key"], plain(name))
        if match:
            first = match.group(1) if match.groups() else ""
            return i, int(first) if first.isdigit() else 0
    return len(table()), 0


def label(name: str) -> str:
    """A metric's name for a reader; its key when it has none."""
    return _expand(name, "label") or name


def meaning(name: str) -> str:
    """A metric's meaning in one line; "" for one that is not listed."""
    return _expand(name, "meaning")


def plain(name: str) -> str:
    """The key of the figure itself where the checkpoint allows cosines only."""
    return (
        name.replace("control_cosine/", "control/")
        .replace("frontier_cosine/explanation", "frontier/fve")
        .replace("frontier_cosine/", "frontier/")
        .replace("cross_cosine/", "cross/")
        .replace("refit_cosine/explanation", "refit/fve")
        .replace("refit_cosine/", "refit/")
    )


def _expand(name: str, column: str) -> str:
    for entry in table():
        match = re.fullmatch(entry["key"], plain(name))
        if match:
            return match.expand(entry[column])
    return ""
