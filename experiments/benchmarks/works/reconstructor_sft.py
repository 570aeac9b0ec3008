"""One supervised step of the reconstructor: texts in, unit vectors out, squared error, adapters, AdamW."""

from __future__ import annotations

import torch

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import vectors
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject
from nlae.objective import Schedule, WarmStart
from nlae.objective.warmstart import reconstructor_loss


def ours(job: Job, session: Session) -> None:
    """The reconstructor's half of a warm-start update."""
    pair = subject.pair(job)
    module = WarmStart(lambda: pair, schedule=Schedule(updates=10**6))
    optimizer = subject.attach(module)[1]
    n = job.sizes.read_rows
    activation_BD, texts = vectors(job)[:n], job.explanations[:n]
    tokens = sum(len(ids) for ids in job.response_ids[:n])

    def repeat() -> int:
        error, magnitude = reconstructor_loss(pair, activation_BD, texts)
        module.manual_backward(error + magnitude)
        module.guarded_step(optimizer, subject.trainable(pair.reconstructor), 1e-5)
        return tokens

    def check() -> list[float]:
        with torch.no_grad():
            return [float(reconstructor_loss(pair, activation_BD, texts)[0])]

    session.serve(repeat, check)
