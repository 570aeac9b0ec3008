"""Which contexts are put into words, so that every entry finds some of its strongest among them.

Greedy cover: the next context is the one that serves most entries, where an entry that is already served counts half
as much each time. Cost grows with contexts, not with entries, since a text is shared by all entries that fire there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def cover(strongest_EK: Ints, n_contexts: int, budget: int) -> Ints:
    """Contexts to put into words, ascending, int64 [C]; fewer than `budget` only where there are fewer contexts.

    Args:
        strongest_EK: each entry's strongest contexts, −1 where it has fewer.
        n_contexts: contexts there are.
        budget: contexts wanted.
    """
    budget = min(budget, n_contexts)
    flat = strongest_EK.reshape(-1)
    keep = flat >= 0
    context, entry = flat[keep], np.repeat(np.arange(len(strongest_EK)), strongest_EK.shape[1])[keep]
    order = np.argsort(context, kind="stable")
    context, entry = context[order], entry[order]
    starts = np.searchsorted(context, np.arange(n_contexts + 1))
    weight_E = np.ones(len(strongest_EK))
    gain = np.bincount(context, minlength=n_contexts).astype(np.float64)
    by_entry = [row[row >= 0] for row in strongest_EK]
    chosen: list[int] = []
    taken = np.zeros(n_contexts, dtype=bool)
    for _ in range(budget):
        best = int(np.argmax(np.where(taken, -np.inf, gain)))
        taken[best] = True
        chosen.append(best)
        for served in entry[starts[best] : starts[best + 1]]:
            weight_E[served] /= 2
            gain[by_entry[served]] -= weight_E[served]
    return np.sort(np.asarray(chosen, dtype=np.int64))


def stratified(frequency_N: npt.NDArray[np.float64], count: int, draw: np.random.Generator) -> tuple[Ints, Ints]:
    """Neurons from every stratum of activation frequency alike, ascending, and a sign (0 or 1) for each.

    Args:
        frequency_N: how often each neuron is active.
        count: neurons wanted.
        draw: decides.
    """
    count = min(count, len(frequency_N))
    strata = [part for part in np.array_split(np.argsort(frequency_N, kind="stable"), max(count, 1)) if count]
    neurons = np.sort(np.asarray([draw.choice(part) for part in strata], dtype=np.int64))
    return neurons, draw.integers(2, size=len(neurons))


def share(total: int, parts: int) -> list[int]:
    """`total` split into `parts` whole numbers that differ by at most one."""
    return [total // parts + (i < total % parts) for i in range(parts)]
