"""Full-text search over descriptions, candidates, tokens that fire and tokens that are written.

Every word of the query counts where it begins a word of the entry; descriptions weigh most, and among equals the
entries that pass come first. An index is left out: a scan of half a million entries takes a fraction of a second.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import polars as pl

WEIGHTS = {"description": 8, "candidate": 4, "tokens": 2, "promoted": 1}
_LISTS = ("tokens", "promoted")
_KEPT = ("layer", "passes", "prediction")
_MOST_WORDS = 16  # of a query; the rest is ignored
_FEW = 0.3  # share of entries below which only those are looked at further


def search(entries: pl.LazyFrame, query: str, limit: int = 20) -> list[int]:
    """Places of the best matches, best first.

    Args:
        entries: frame with the columns of the dictionary, in the order of its file.
        query: words; an entry must match each of them somewhere.
        limit: how many places at most.
    """
    if limit < 1:
        return []
    return [int(place) for place in matches(lowered(entries), query)["place"].head(limit)]


def lowered(entries: pl.LazyFrame) -> pl.DataFrame:
    """What is searched, in lower case, with each entry's `place` in the file; worth keeping where many queries come.

    Args:
        entries: frame with the columns of the dictionary, in the order of its file.

    Returns:
        Passing entries first, then by prediction.
    """
    found = entries.select(*_KEPT, *WEIGHTS).with_row_index("place").with_columns(_text(name) for name in WEIGHTS)
    return found.sort(["passes", "prediction", "place"], descending=[True, True, False], nulls_last=True).collect()


def matches(texts: pl.DataFrame, query: str) -> pl.DataFrame:
    """All matches, best first: passing ones before the others, then by what matched, then by prediction.

    Args:
        texts: what `lowered` gives.
        query: words; an entry must match each of them somewhere; none at all match nothing.

    Returns:
        Columns place, layer, passes, prediction.
    """
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:_MOST_WORDS]
    kept: npt.NDArray[np.int64] = np.arange(texts.height if words else 0)
    score = np.zeros(len(kept), np.int16)
    for word in sorted(words, key=len, reverse=True):  # longer words are rarer
        few = len(kept) < _FEW * texts.height
        gained = _weigh(texts[kept], word) if few else _weigh(texts, word)[kept]
        score, kept = (score + gained)[gained > 0], kept[gained > 0]
    passes = texts["passes"].to_numpy()[kept].astype(np.int16)
    order = np.argsort(-(passes * np.int16(1000) + score), kind="stable")
    return texts.select("place", *_KEPT)[kept[order]]


def _weigh(texts: pl.DataFrame, word: str) -> npt.NDArray[np.int16]:
    """Sum of the weights of the columns in which a word begins with `word`, for each row; 0 where there is none."""
    pattern = r"\b" + re.escape(word)
    hits = texts.select(pl.col(name).str.contains(pattern).fill_null(False) for name in WEIGHTS)
    gained = np.zeros(texts.height, np.int16)
    for name, weight in WEIGHTS.items():
        gained += hits[name].to_numpy().astype(np.int16) * np.int16(weight)
    return gained


def _text(name: str) -> pl.Expr:
    """A column as lower-case text; what an entry that does not pass says in place of a description is no match."""
    column = pl.col(name).list.join(" ") if name in _LISTS else pl.col(name)
    if name == "description":
        column = pl.when("passes").then(column).otherwise(pl.lit(""))
    return column.str.to_lowercase()
