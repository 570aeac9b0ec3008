"""python -m pretend_cuda.table LEDGER.json [WORD …]: waits of the phases that hold a word, per unit of their work."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

UNITS = {
    "local step": "local steps",
    "local join": "local joins",
    "local look": "local looks",
    "local call": "local calls",
    "plain": "plain steps",
    "validate": "validations",
    "sft": "sft calls",
    "regress": "regress calls",
    "optimizer": "optimizer steps",
    "improve": "improve calls",
}


def rows(ledger: dict[str, Any], words: list[str]) -> list[tuple[str, str, str, str, int, str]]:
    """(phase, kind, place, operator, count, count per unit) of each wait whose phase holds one of the words."""
    found = []
    for phase, kind, place, operator, count in ledger["waits"]:
        if words and not any(word in phase for word in words):
            continue
        stage, _, activity = phase.partition("/")
        unit = UNITS.get(activity, "")
        of = ledger["marks"].get(f"{stage}/{unit}")
        found.append((phase, kind, place, operator, count, f"{count / of:.2f} per {unit[:-1]}" if of else ""))
    return found


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text())
    for what, place, operator, count in content["oddities"]:
        print(f"odd: {what}, {place}, {operator}, {count}")  # noqa: T201
    for phase, kind, place, operator, count, per in rows(content, sys.argv[2:]):
        print(f"{phase:26} {kind:5} {place[:75]:75} {operator:26} {count:5} {per}")  # noqa: T201
