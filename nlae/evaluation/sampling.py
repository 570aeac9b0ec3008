"""Which rows are measured, and which row stands against which; pure functions of a seed.

Nothing here looks at an activation or an explanation, so no choice can favour a result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nlae.functional.randomness import derive_seed

Ints = npt.NDArray[np.int64]


def stratified(source: Sequence[object], limit: int | None, seed: int, min_clusters: int = 30) -> Ints:
    """Indices of at most `limit` rows, in proportion to their source works, ascending.

    Fractions of a row are rounded at random without bias. If fewer than `min_clusters` works are hit while there are
    more, works that were missed get one row each, taken from the largest.
    """
    n = len(source)
    if limit is None or limit >= n:
        return np.arange(n)
    rng = np.random.default_rng(derive_seed(seed, "rows"))
    groups: dict[str, list[int]] = {}
    for index in rng.permutation(n).tolist():
        groups.setdefault(str(source[index]), []).append(index)
    names = [sorted(groups)[place] for place in rng.permutation(len(groups))]
    share = np.array([len(groups[name]) * limit / n for name in names])
    take = np.floor(share + 1e-9).astype(np.int64)
    rest = limit - int(take.sum())
    ends = np.cumsum(np.clip(share - take, 0, None))
    if rest:
        points = (np.arange(rest) + rng.random()) * (ends[-1] / rest)
        np.add.at(take, np.searchsorted(ends, points, side="right").clip(max=len(names) - 1), 1)
    take = np.minimum(take, [len(groups[name]) for name in names])
    missed = [place for place in range(len(names)) if not take[place]]
    while missed and len(names) - len(missed) < min(min_clusters, limit):
        take[np.argmax(take)] -= 1
        take[missed.pop()] = 1
    return np.sort(np.array([i for name, k in zip(names, take, strict=True) for i in groups[name][:k]], dtype=np.int64))


def derangement(group: npt.ArrayLike, seed: int) -> Ints | None:
    """A permutation that sends every row to a row of another group (document or work); None where there is none.

    Rows are laid out by group, groups in random order, and shifted by the size of the largest: no row can then land in
    its own group unless one group holds more than half of the rows.
    """
    group = np.asarray(group)
    n = len(group)
    rng = np.random.default_rng(derive_seed(seed, "shuffled"))
    names, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    if n == 0 or 2 * int(counts.max()) > n:
        return None
    order = np.lexsort((rng.random(n), rng.permutation(len(names))[inverse]))
    partner = np.empty(n, dtype=np.int64)
    partner[order] = np.roll(order, -int(counts.max()))
    return partner


def others(n: int, count: int, seed: int) -> Ints:
    """For each of n rows, `count` different other rows (all of them where there are fewer); int64 [n, ≤ count]."""
    count = min(count, n - 1)
    chosen = np.empty((n, count), dtype=np.int64)
    for row in range(n):
        rng = np.random.default_rng(derive_seed(seed, "rank", row))
        drawn = rng.choice(n - 1, size=count, replace=False)
        chosen[row] = drawn + (drawn >= row)
    return chosen
