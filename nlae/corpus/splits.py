"""Splits by source work, with works that share near-duplicate passages kept together.

The order of the works is a hash of their names: adding works moves few others. Exact copies are dropped before this.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from nlae.corpus.source import stable_hash
from nlae.errors import NlaeError
from nlae.progress import track

PERMUTATIONS = 64
SHINGLE = 5
_LARGE = 0.1  # a cluster with more of the works than this trains: it would upset the shares of a held-out split


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


def near_duplicate_links(texts: Sequence[str], works: Sequence[str], threshold: float) -> list[tuple[str, str]]:
    """Pairs of works that share passages whose five-word runs overlap by at least `threshold` (Jaccard, estimated)."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    sketches: list[MinHash] = []
    links: set[tuple[str, str]] = set()
    empty = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
    for number, text in enumerate(track(texts, description="near duplicates")):
        sketch = empty.copy()
        sketch.update_batch(shingles(text))
        for other in index.query(sketch):
            pair = (works[other], works[number])
            if pair[0] != pair[1] and sketches[other].jaccard(sketch) >= threshold:
                links.add((min(pair), max(pair)))
        index.insert(number, sketch)
        sketches.append(sketch)
    return sorted(links)


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
