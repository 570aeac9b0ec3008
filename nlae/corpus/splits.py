"""Splits by source work, with works that share near-duplicate passages kept together.

The order of the works is a hash of their names: adding works moves few others. Exact copies are dropped before this.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nlae.corpus.base import stable_hash
from nlae.errors import NlaeError
from nlae.terminal.progress import track

PERMUTATIONS = 64
SHINGLE = 5
NEIGHBOURS = 64
_COMPARED = 1 << 15
_LARGE = 0.1  # a cluster with more of the works than this trains: it would upset the shares of a held-out split

Ints = npt.NDArray[np.int64]
Sketches = npt.NDArray[np.uint32]


def split_works(
    works: Sequence[str], linked: Sequence[tuple[str, str]], *, val_share: float, test_share: float, seed: int
) -> dict[str, str]:
    """Split name (`train`, `val`, `test`) of each work.

    Args:
        works: all works, in any order.
        linked: pairs that must share a split.
        val_share: share of the works.
        test_share: share of the works.
        seed: of the corpus.

    Raises:
        NlaeError: fewer than three groups of works that can be separated.
    """
    clusters = _clusters(works, linked)
    if len(clusters) < 3:
        raise NlaeError(
            f"the corpus has {len(clusters)} source work(s) that can be separated, but three splits need three: add "
            "texts, set corpus.heading to cut at headings, or corpus.split_by=document to split within a work"
        )
    total = len(works)
    wanted = {"test": max(1, round(test_share * total)), "val": max(1, round(val_share * total))}
    split: dict[str, str] = {}
    order = sorted(clusters, key=lambda cluster: (stable_hash(seed, cluster[0]), cluster[0]))
    small = [cluster for cluster in order if len(cluster) <= max(1, _LARGE * total)]
    left = len(clusters)
    for cluster in small if len(small) >= 2 else order:
        name = next((name for name, count in wanted.items() if count > 0), "train")
        if name != "train" and left > 1:
            wanted[name] -= len(cluster)
            split.update(dict.fromkeys(cluster, name))
        left -= 1
    return {work: split.get(work, "train") for work in works}


def near_duplicate_links(texts: Iterable[str], works: Sequence[str], threshold: float) -> list[tuple[str, str]]:
    """Pairs of works that share passages whose five-word runs overlap by at least `threshold` (Jaccard, estimated).

    A passage costs 256 bytes for its sketch and 32 while one band is compared. Where more than `NEIGHBOURS` passages
    agree in a band, each is compared with that many before it rather than with all.

    Args:
        texts: of the passages.
        works: work of each passage.
        threshold: of the estimate.
    """
    from datasketch import MinHash, MinHashLSH

    empty = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
    sketch_NP = np.empty((len(works), PERMUTATIONS), dtype=np.uint32)
    for number, text in enumerate(track(texts, len(works), "near duplicates")):
        sketch = empty.copy()
        sketch.update_batch(shingles(text))
        sketch_NP[number] = sketch.hashvalues
    numbers: dict[str, int] = {}
    work_N = np.fromiter((numbers.setdefault(work, len(numbers)) for work in works), np.int64, len(works))
    bands = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    links: set[tuple[str, str]] = set()
    for band in range(bands.b):
        for left, right in _alike(sketch_NP, work_N, slice(band * bands.r, (band + 1) * bands.r), threshold):
            links.add((min(works[left], works[right]), max(works[left], works[right])))
    return sorted(links)


def _alike(sketch_NP: Sketches, work_N: Ints, columns: slice, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of passages of different works that agree in a band of the sketch, and in enough of the rest."""
    key_N = np.zeros(len(sketch_NP), dtype=np.uint64)
    for column in sketch_NP[:, columns].T:
        # keys may collide: the whole sketches are compared below
        key_N = (key_N ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key_N ^= key_N >> np.uint64(29)
    order_N = np.argsort(key_N, kind="stable")
    key_N = key_N[order_N]
    for distance in range(1, min(NEIGHBOURS, len(key_N) - 1) + 1):
        place = np.flatnonzero(key_N[distance:] == key_N[:-distance])
        if not len(place):
            return
        left, right = order_N[place], order_N[place + distance]
        other = work_N[left] != work_N[right]
        left, right = left[other], right[other]
        for start in range(0, len(left), _COMPARED):
            a, b = left[start : start + _COMPARED], right[start : start + _COMPARED]
            near = (sketch_NP[a] == sketch_NP[b]).mean(1) >= threshold
            yield from zip(a[near].tolist(), b[near].tolist(), strict=True)


def shingles(text: str) -> list[bytes]:
    """Distinct runs of five words, lower-cased; the whole text where it is shorter."""
    words = re.findall(r"\w+", text.lower())
    runs = {" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1))}
    return sorted(run.encode() for run in runs)


def _clusters(works: Sequence[str], linked: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Connected components, each sorted."""
    parent = {work: work for work in works}

    def root(work: str) -> str:
        while parent[work] != work:
            parent[work] = parent[parent[work]]
            work = parent[work]
        return work

    for left, right in linked:
        parent[max(root(left), root(right))] = min(root(left), root(right))
    groups: dict[str, list[str]] = {}
    for work in sorted(parent):
        groups.setdefault(root(work), []).append(work)
    return list(groups.values())


def shares(splits: Sequence[str]) -> dict[str, int]:
    """How often each split occurs."""
    names, counts = np.unique(np.asarray(splits, dtype=str), return_counts=True)
    return {"train": 0, "val": 0, "test": 0} | dict(zip(names.tolist(), counts.tolist(), strict=True))
