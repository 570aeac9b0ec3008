"""One supervised step of the reconstructor: texts in, unit vectors out, squared error, adapters, AdamW."""

from __future__ import annotations

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import vectors
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject
from nlae.functional.scaling import unit
from nlae.training import Schedule, WarmStart


def ours(job: Job, session: Session) -> None:
    """The reconstructor's half of a warm-start update."""
    pair = subject.pair(job)
    module = WarmStart(lambda: pair, schedule=Schedule(updates=10**6))
    optimizer = subject.attach(module)[1]
    n = job.sizes.read_rows
    activation_BD, texts = vectors(job)[:n], job.explanations[:n]
    tokens = sum(len(ids) for ids in job.response_ids[:n])

    def repeat() -> int:
        module.regress(activation_BD, texts)
        norm = float(module.clipped(subject.trainable(pair.at().reconstructor)))
        module.guarded_step(optimizer, norm, 1e-5)
        return tokens

    def check() -> list[float]:
        rebuilt_BD = pair.reconstruct(texts)
        return [float((rebuilt_BD - unit(activation_BD).cpu()).pow(2).sum(-1).mean())]

    session.serve(repeat, check)
