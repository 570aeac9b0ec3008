"""A reading as a page: gathers what the template and its script need, as plain values."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from nlae.explain.legend import plural, terms
from nlae.explain.reading import Reading, ReadingRow
from nlae.explain.tokens import TEMPLATE, Passage
from nlae.page import render
from nlae.page.environment import number


def page(reading: Reading, title: str | None = None) -> str:
    """The HTML of `reading`."""
    by_token: dict[tuple[int, int], list[ReadingRow]] = defaultdict(list)
    for row in reading.rows:
        by_token[row.passage, row.index].append(row)
    passages = [_passage(i, passage, by_token) for i, passage in enumerate(reading.passages)]
    flat = [read for passage in passages for read in passage["reads"].values()]
    data = {
        "passages": passages,
        "measure": "fve" if reading.scored else "cosine",
        "others": reading.others,
        "first": next((i for i, read in enumerate(flat) if not read["mark"]), 0),
    }
    return render(
        "explain.html.j2",
        Path(__file__).parent / "templates",
        title=title or _title(reading),
        lede=_lede(reading, len(flat)),
        count=plural(len(reading.rows), "explanation"),
        terms=terms(reading),
        notes=list(reading.notes),
        about=list(reading.about.items()),
        data=data,
    )


def _passage(i: int, passage: Passage, by_token: dict[tuple[int, int], list[ReadingRow]]) -> dict[str, Any]:
    reads = {str(index): _read(by_token[i, index]) for index in range(len(passage.pieces)) if (i, index) in by_token}
    turns = [
        {"role": _role(turn.role), "start": turn.start, "end": turn.end, "generated": turn.generated}
        for turn in passage.turns
    ]
    return {"name": passage.name, "kind": passage.kind, "tokens": list(passage.pieces), "turns": turns, "reads": reads}


def _read(rows: list[ReadingRow]) -> dict[str, Any]:
    first = rows[0]
    samples: list[dict[str, Any]] = [
        {
            "text": row.shown,
            "fve": _finite(row.fve),
            "shuffled": _finite(row.shuffled),
            "rank": _finite(row.rank),
            "cosine": _finite(row.cosine),
            "alignment": _finite(row.alignment),
            "closed": row.closed,
            "n_tokens": row.n_tokens,
        }
        for row in rows
    ]
    return {
        "fve": _mean([s["fve"] for s in samples]),
        "cosine": _mean([s["cosine"] for s in samples]),
        "norm": _finite(first.norm),
        "mark": first.mark,
        "role": _role(first.role),
        "samples": samples,
    }


def _title(reading: Reading) -> str:
    names = [passage.name for passage in reading.passages]
    return names[0] if len(names) == 1 else f"{len(names)} passages"


def _lede(reading: Reading, tokens: int) -> str:
    where = " at ".join(reading.about[key] for key in ("target", "site") if key in reading.about)
    line = f"{plural(tokens, reading.noun)}{f' of {where}' if where else ''}, read in words."
    if reading.mean_fve is not None:
        beside = "" if reading.mean_shuffled is None else f"; shuffled among them, {number(reading.mean_shuffled)}"
        return f"{line} The words alone recover a mean FVE of {number(reading.mean_fve)} of these activations{beside}."
    if not reading.scored and reading.mean_cosine is not None:
        return (
            f"{line} Mean cosine {number(reading.mean_cosine)}: the checkpoint holds no statistics to take an FVE with."
        )
    return line


def _role(role: str) -> str:
    return "written by the chat template" if role == TEMPLATE else role


def _mean(values: list[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
