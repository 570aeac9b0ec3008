"""Full-text search over descriptions, candidates, tokens that fire and tokens that are written.

Every word of the query counts where it begins a word of the entry; descriptions weigh most, and among equals the
entries that pass come first. An index is left out: a scan of half a million entries takes a fraction of a second.
"""

from __future__ import annotations

import re

import polars as pl

WEIGHTS = {"description": 8.0, "candidate": 4.0, "tokens": 2.0, "promoted": 1.0}
_LISTS = ("tokens", "promoted")
_KEPT = ("layer", "passes", "prediction")


def search(entries: pl.LazyFrame, query: str, limit: int = 20) -> list[int]:
    """Places of the best matches, best first.

    Args:
        entries: frame with the columns of the dictionary, in the order of its file.
        query: words; an entry must match each of them somewhere.
        limit: how many places at most.
    """
    if limit < 1:
        return []
    ranked = matches(lowered(entries), query).select("place").head(limit).collect()
    return [int(place) for place in ranked["place"]]


def lowered(entries: pl.LazyFrame) -> pl.LazyFrame:
    """What is searched, in lower case, with each entry's `place` in the file; worth keeping where many queries come.

    Args:
        entries: frame with the columns of the dictionary, in the order of its file.
    """
    found = entries.select(*_KEPT, *WEIGHTS).with_row_index("place")
    return found.with_columns(_text(name).alias(name) for name in WEIGHTS)


def matches(texts: pl.LazyFrame, query: str) -> pl.LazyFrame:
    """All matches, best first: passing ones before the others, then by what matched, then by prediction.

    Args:
        texts: what `lowered` gives.
        query: words; an entry must match each of them somewhere; none at all match nothing.

    Returns:
        Columns place, layer, passes, prediction, score.
    """
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))
    hits = {
        (name, word): pl.col(name).str.contains(r"\b" + re.escape(word)).fill_null(False)
        for name in WEIGHTS
        for word in words
    }
    if not words:
        return texts.filter(pl.lit(False)).select("place", *_KEPT, score=pl.lit(0.0))
    # a plain scan for the letters first: cheap, and it leaves little for the expressions
    rough = [pl.any_horizontal([pl.col(name).str.contains(word, literal=True) for name in WEIGHTS]) for word in words]
    everywhere = pl.all_horizontal([pl.any_horizontal([hits[name, word] for name in WEIGHTS]) for word in words])
    score = pl.sum_horizontal([hit.cast(pl.Float64) * WEIGHTS[name] for (name, _), hit in hits.items()])
    return (
        texts.filter(pl.all_horizontal(rough))
        .filter(everywhere)
        .select("place", *_KEPT, score=score)
        .sort(["passes", "score", "prediction", "place"], descending=[True, True, True, False], nulls_last=True)
    )


def _text(name: str) -> pl.Expr:
    """A column as lower-case text; what an entry that does not pass says in place of a description is no match."""
    column = pl.col(name).list.join(" ") if name in _LISTS else pl.col(name)
    if name == "description":
        column = pl.when("passes").then(column).otherwise(pl.lit(""))
    return column.str.to_lowercase()
