"""Rows that share a prompt but for the vector in its slot, a fixed number of sampled tokens each.

The verbalizer runs under its adapter, peers run the bare model. Ours also hands back log-probabilities, peers do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import vectors
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject
from nlae.model.autoencoder import Autoencoder

CHECKED_ROWS, CHECKED_TOKENS = 4, 8


def ours(job: Job, session: Session) -> None:
    """One call of the engine."""
    pair = subject.pair(job)
    activation_BD = vectors(job)[: job.sizes.rows]
    seeds = list(range(job.sizes.rows))

    def repeat() -> int:
        done = pair.engine(pair.at().verbalizer, activation_BD, seeds, temperature=1.0)
        return int(done.length.sum())

    with torch.no_grad():
        session.serve(repeat, lambda: greedy(pair, activation_BD[:CHECKED_ROWS], seeds))


def greedy(pair: Autoencoder, activation_BD: torch.Tensor, seeds: Sequence[int]) -> list[float]:
    """The first greedy tokens, as numbers."""
    whole = pair.at().verbalizer.prompt
    pair.at().verbalizer.prompt = dataclasses.replace(whole, max_tokens=min(CHECKED_TOKENS, whole.max_tokens))
    try:
        done = pair.engine(pair.at().verbalizer, activation_BD, list(seeds[: len(activation_BD)]), temperature=0.0)
    finally:
        pair.at().verbalizer.prompt = whole
    return [float(token) for token in done.token_BT.flatten().tolist()]
