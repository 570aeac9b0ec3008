"""Explanations to read: drawn by a seed from the best, middle and worst tenth of the rows, not chosen by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nlae.errors import NlaeError
from nlae.functional.copying import copied_spans
from nlae.functional.randomness import derive_seed

GROUPS = (
    ("best", "From the best tenth", 0.0),
    ("middle", "From the middle", 0.45),
    ("worst", "From the worst tenth", 0.9),
)
SHOWN = 420
COPY = 2  # words in a row that make a copy


@dataclass(frozen=True)
class Example:
    """One row of `rows.parquet` for reading; `explanation` in pieces, each with whether it is copied."""

    before: str
    token: str
    explanation: tuple[tuple[str, bool], ...]
    closed: bool
    fve: float | None
    rank: float | None
    position: int | None
    source: str
    teacher: str


@dataclass(frozen=True)
class Group:
    """Examples of one tenth."""

    name: str
    title: str
    examples: tuple[Example, ...]


def examples(path: Path, count: int, seed: int) -> list[Group]:
    """Up to `count` rows from each of three tenths of the rows by reconstruction error.

    Raises:
        NlaeError: the file is broken.
    """
    if not path.is_file() or count < 1:
        return []
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise NlaeError(f"report: {path} cannot be read ({error}); delete its folder and evaluate again") from error
    if "early" in table.columns:
        table = table.filter(~pl.col("early"))
    key = "error" if "error" in table.columns else "fve"
    if key not in table.columns:
        return []
    table = table.drop_nulls(key).sort(key, "row", descending=[key == "fve", False])
    out = []
    for name, title, start in GROUPS:
        low, high = int(start * len(table)), int(np.ceil((start + 0.1) * len(table)))
        order = np.random.default_rng(derive_seed(seed, "report", name)).permutation(
            np.arange(low, min(high, len(table)))
        )
        drawn = [table.row(int(i), named=True) for i in sorted(order[:count].tolist())]
        if drawn:
            out.append(Group(name, title, tuple(_example(row) for row in drawn)))
    return out


def marked(text: str, context: str) -> tuple[tuple[str, bool], ...]:
    """`text` in pieces; those that stand in `context` too, in runs of two words or more, are True."""
    pieces, end = [], 0
    for start, stop in copied_spans(text, context, COPY):
        pieces += [(text[end:start], False), (text[start:stop], True)]
        end = stop
    return tuple((piece, copied) for piece, copied in [*pieces, (text[end:], False)] if piece)


def _example(row: dict[str, Any]) -> Example:
    context, token = str(row.get("context") or ""), str(row.get("token") or "")
    before = context[: -len(token)] if token and context.endswith(token) else context
    before = f"…{before[-SHOWN:]}" if len(before) > SHOWN else before
    return Example(
        before,
        token,
        marked(str(row.get("explanation") or ""), context),
        bool(row.get("closed", True)),
        row.get("fve"),
        row.get("rank"),
        row.get("position"),
        str(row.get("source") or ""),
        str(row.get("teacher") or ""),
    )
