"""Full-text search over descriptions, candidates, tokens that fire and tokens that are written.

Every word of the query counts where it begins a word of the entry; descriptions weigh most, and among equals the
entries that pass come first. An index is left out: a scan of half a million entries takes a fraction of a second.
"""

from __future__ import annotations

import re

import polars as pl

WEIGHTS = {"description": 8.0, "candidate": 4.0, "tokens": 2.0, "promoted": 1.0}
_LISTS = ("tokens", "promoted")


def search(entries: pl.LazyFrame, query: str, limit: int = 20) -> list[int]:
    """Places of the best matches, best first.

    Args:
        entries: frame with the columns of the dictionary, in the order of its file.
        query: words; an entry must match each of them somewhere.
        limit: how many places at most.
    """
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))
    if not words or limit < 1:
        return []
    found = entries.select("passes", "prediction", *WEIGHTS).with_row_index("place")
    texts = {name: _text(name) for name in WEIGHTS}
    hits = {
        (name, word): text.str.contains(r"\b" + re.escape(word)).fill_null(False)
        for name, text in texts.items()
        for word in words
    }
    score = pl.sum_horizontal([hit.cast(pl.Float64) * WEIGHTS[name] for (name, _), hit in hits.items()])
    everywhere = pl.all_horizontal([pl.any_horizontal([hits[name, word] for name in WEIGHTS]) for word in words])
    ranked = (
        found.filter(everywhere)
        .with_columns(score.alias("score"))
        .sort(["passes", "score", "prediction", "place"], descending=[True, True, True, False], nulls_last=True)
        .select("place")
        .head(limit)
        .collect()
    )
    return [int(place) for place in ranked["place"]]


def _text(name: str) -> pl.Expr:
    """A column as lower-case text; what an entry that does not pass says in place of a description is no match."""
    column = pl.col(name).list.join(" ") if name in _LISTS else pl.col(name)
    if name == "description":
        column = pl.when("passes").then(column).otherwise(pl.lit(""))
    return column.str.to_lowercase()
