"""Decoys: activations that belong to another context with the same last token.

A decoy keeps everything about a neuron that the last token explains, and its whole marginal distribution, and loses
what the rest of the context explains. Every stratum is turned by one step in a random order (a random cycle), so no
activation stays where it was unless it is alone. Left out: keeping two activations of one passage apart; a passage
shares a topic, and a decoy that has kept a little of the truth makes the published false-discovery rate too high,
never too low.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.functional.randomness import derive_seed

Ints = npt.NDArray[np.int64]
_COLUMNS = 256  # neurons whose sort keys are in memory at once


def token_counts(corpus: Corpus) -> Ints:
    """Occurrences of every token id in the whole corpus, int64 [largest id + 1]."""
    ids = np.concatenate([chunk.flatten().to_numpy() for chunk in corpus.documents["input_ids"].chunks])
    counts: Ints = np.bincount(ids.astype(np.int64)).astype(np.int64)
    return counts


def frequency_rank(token_id: Ints, corpus_token_counts: Ints) -> Ints:
    """Class of corpus frequency of each token: the rounded-down binary logarithm of its count; int64 [n]."""
    counts: Ints = np.asarray(corpus_token_counts)[token_id]
    rank: Ints = np.log2(np.maximum(counts, 1)).astype(np.int64)
    return rank


def strata(token_id: Ints, frequency_rank: Ints) -> Ints:
    """Stratum of each position: its token, or for tokens that occur once, their class of frequency; int64 [n].

    A class with a single member joins the next one, so that only a lone position can be a stratum of its own.
    """
    _, token, times = np.unique(token_id, return_inverse=True, return_counts=True)
    stratum = token.astype(np.int64) + len(token_id)
    lone = np.flatnonzero(times[token] == 1)
    lone = lone[np.argsort(frequency_rank[lone], kind="stable")]
    starts, first = [0], 0
    for at in range(1, len(lone)):
        new_class = frequency_rank[lone[at]] != frequency_rank[lone[at - 1]]
        if new_class and at - first >= 2 and len(lone) - at >= 2:
            starts.append(at)
            first = at
    stratum[lone] = np.searchsorted(starts, np.arange(len(lone)), side="right")
    if len(lone) == 1 and len(token_id) > 1:  # nothing of its kind: it joins the most frequent token
        stratum[lone] = len(token_id) + int(np.argmax(times))
    return stratum


def cycles(stratum: Ints, count: int, generator: torch.Generator) -> Ints:
    """`count` independent permutations, each one random cycle per stratum; int64 [count, n]."""
    order = np.argsort(stratum, kind="stable")
    rank = np.unique(stratum, return_inverse=True)[1]
    key_CN = rank + torch.rand(count, len(stratum), generator=generator, dtype=torch.float64).numpy()
    shuffled_CN = np.argsort(key_CN, axis=1, kind="stable")
    turned_N = _successor(rank[order])
    index_CN = np.empty_like(shuffled_CN)
    np.put_along_axis(index_CN, shuffled_CN, shuffled_CN[:, turned_N], axis=1)
    return index_CN


def decoy_panel(neurons_MN: Tensor, token_id: Ints, corpus_token_counts: Ints, seed: int) -> Tensor:
    """Each neuron's column of a panel, permuted within the strata independently of the others.

    Args:
        neurons_MN: activations, or values of directions.
        token_id: last token of each row, int64 [M].
        corpus_token_counts: occurrences of every token id in the corpus, int64 [vocabulary].
        seed: of the permutations.

    Returns:
        [M, N], the same values in each column.
    """
    stratum = strata(token_id, frequency_rank(token_id, corpus_token_counts))
    out_MN = torch.empty_like(neurons_MN)
    for start in range(0, neurons_MN.shape[1], _COLUMNS):
        columns = slice(start, min(start + _COLUMNS, neurons_MN.shape[1]))
        draw = torch.Generator().manual_seed(derive_seed(seed, "decoy panel", start))
        index_MC = torch.from_numpy(cycles(stratum, columns.stop - start, draw).T.copy()).to(neurons_MN.device)
        out_MN[:, columns] = neurons_MN[:, columns].gather(0, index_MC)
    return out_MN


def _successor(sorted_rank: Ints) -> Ints:
    """For items sorted by stratum: the next one of the same stratum, the last one's is the first."""
    n = len(sorted_rank)
    following = np.arange(1, n + 1)
    if n:
        first = np.flatnonzero(np.r_[True, sorted_rank[1:] != sorted_rank[:-1]])
        last = np.r_[first[1:], n] - 1
        following[last] = first
    return following
