"""Full-text search over descriptions, what is written, tokens that fire and tokens that are promoted.

Every word of the query counts where it begins a word of the entry; descriptions weigh most, and among equals the
entries that pass come first. An index is left out: a scan of half a million entries takes a fraction of a second.
"""

from __future__ import annotations

import bisect
import difflib
import re

import numpy as np
import numpy.typing as npt
import polars as pl

WEIGHTS = {"description": 8, "writes": 4, "tokens": 2, "promoted": 1}
KEPT = ("layer", "passes", "auroc")
_LISTS = ("tokens", "promoted")
_MOST_WORDS = 16  # of a query; the rest is ignored
_NEAR, _ASKED = 3, 4  # words that are suggested for each of a query's first few


def words_of(query: str) -> list[str]:
    """The words that are searched for, each once."""
    return list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:_MOST_WORDS]


def lowered(entries: pl.LazyFrame) -> pl.DataFrame:
    """What is searched, in lower case, with each entry's `place` in the file; worth keeping where many queries come.

    Args:
        entries: frame with the columns of the dictionary, in the order of its file.

    Returns:
        Passing entries first, then by AUROC.
    """
    texts = [(pl.col(name).list.join(" ") if name in _LISTS else pl.col(name)).str.to_lowercase() for name in WEIGHTS]
    found = entries.select(*KEPT, *WEIGHTS).with_row_index("place").with_columns(texts)
    found = found.with_columns(whole=pl.concat_str(*WEIGHTS, separator=" ", ignore_nulls=True))
    return found.sort(["passes", "auroc", "place"], descending=[True, True, False], nulls_last=True).collect()


def matches(texts: pl.DataFrame, query: str) -> pl.DataFrame:
    """All matches, best first: passing ones before the others, then by what matched, then by AUROC.

    Args:
        texts: of `lowered`.
        query: words; an entry must match each of them somewhere; none at all match nothing.

    Returns:
        Columns place, layer, passes, auroc.
    """
    words = words_of(query)
    kept: npt.NDArray[np.int64] = np.arange(texts.height if words else 0)
    for word in sorted(words, key=len, reverse=True):  # longer words are rarer
        whole = texts["whole"] if len(kept) == texts.height else texts["whole"][kept]
        kept = kept[whole.str.contains(_pattern(word)).to_numpy()]
    held = texts[kept]
    score = sum((_weigh(held, word) for word in words), np.zeros(len(kept), np.int16))
    passes = texts["passes"].to_numpy()[kept].astype(np.int16)
    order = np.argsort(-(passes * np.int16(1000) + score), kind="stable")
    return texts.select("place", *KEPT)[kept[order]]


def _pattern(word: str) -> str:
    return r"\b" + re.escape(word)


def _weigh(texts: pl.DataFrame, word: str) -> npt.NDArray[np.int16]:
    """Sum of the weights of the columns in which a word begins with `word`, for each row."""
    hits = [pl.col(name).str.contains(_pattern(word)).cast(pl.Int16) * weight for name, weight in WEIGHTS.items()]
    return texts.select(pl.sum_horizontal(hits).cast(pl.Int16))["description"].to_numpy()


def vocabulary(texts: pl.DataFrame) -> list[str]:
    """Every word of three letters and more that descriptions and what is written hold, in order."""
    columns = (texts[name] for name in ("description", "writes"))
    found = [column.str.extract_all(r"\p{L}{3,}").explode().drop_nulls().unique().to_list() for column in columns]
    return sorted(set().union(*found))


def near(words: list[str], query: str) -> list[str]:
    """Words of a vocabulary that lie near those of a query that found nothing.

    Args:
        words: of `vocabulary`.
        query: what was asked.

    Returns:
        For each of its first words: itself where it is known, else what begins with it, else what is spelt alike.
    """
    found: list[str] = []
    for word in words_of(query)[:_ASKED]:
        known = _beginning(words, word)
        alike = [] if known else [w for w in words if w[0] == word[0] or w[1:3] == word[1:3]]
        found += known[:1] if known[:1] == [word] else known or difflib.get_close_matches(word, alike, _NEAR)
    return list(dict.fromkeys(found))


def _beginning(words: list[str], start: str) -> list[str]:
    first = bisect.bisect_left(words, start)
    return [word for word in words[first : first + _NEAR] if word.startswith(start)]
