"""One supervised step of the reconstructor: texts in, unit vectors out, squared error, adapters, AdamW."""

from __future__ import annotations

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import vectors
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject
from nlae.functional.scaling import unit


def ours(job: Job, session: Session) -> None:
    """An update of `Reconstructor`."""
    pair = subject.pair(job)
    module = pair.reconstructor
    (optimizer,) = subject.attach(module)
    n = job.sizes.read_rows
    activation_BD, texts = vectors(job)[:n], job.explanations[:n]
    tokens = sum(len(ids) for ids in job.response_ids[:n])

    def repeat() -> int:
        module.reconstruction_loss({pair.site.name: activation_BD}, texts)
        norm = float(module.clipped(subject.trainable(module)))
        module.guarded_step(optimizer, norm, 1e-5)
        return tokens

    def check() -> list[float]:
        rebuilt_BD = pair.reconstruct(texts)
        return [float((rebuilt_BD - unit(activation_BD).cpu()).pow(2).sum(-1).mean())]

    session.serve(repeat, check)
