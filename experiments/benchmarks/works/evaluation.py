"""The round trip of held-out rows: write an explanation for each, read it back, score the share of variance kept."""

from __future__ import annotations

import torch

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import sample, vectors
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject
from nlae.functional.reconstruction import fve, spread, squared_error
from nlae.functional.scaling import unit


def ours(job: Job, session: Session) -> None:
    """`verbalize`, `reconstruct`, `fve`."""
    pair = subject.pair(job)
    activation_BD = vectors(job)[: job.sizes.rows]
    true_BD, mean_D = unit(activation_BD).cpu(), pair.statistics.mean_D.cpu()
    seeds = list(range(job.sizes.rows))

    def repeat() -> int:
        said = pair.verbalize(activation_BD, seeds=seeds)
        rebuilt_BD = pair.reconstruct([one.text for one in said])
        fve(squared_error(rebuilt_BD, true_BD), spread(true_BD, mean_D))
        if any(one.n_tokens != job.sizes.new_tokens for one in said):
            raise RuntimeError("a row ended early: token counts are not equal")
        return len(said)

    with torch.no_grad():
        session.serve(repeat, lambda: sample(pair.reconstruct(job.explanations[:4])))
