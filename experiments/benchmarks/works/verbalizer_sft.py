"""One supervised step of the verbalizer: prompts with a vector, a teacher's text, adapters, AdamW."""

from __future__ import annotations

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import vectors
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject


def ours(job: Job, session: Session) -> None:
    """An update of `Verbalizer`."""
    pair = subject.pair(job)
    module = pair.verbalizer
    (optimizer,) = subject.attach(module)
    n = job.sizes.write_rows
    activation_BD, texts = vectors(job)[:n], job.explanations[:n]
    tokens = sum(len(ids) for ids in job.response_ids[:n])

    def repeat() -> int:
        module.sft_loss(activation_BD, texts)
        norm = float(module.clipped(subject.trainable(module)))
        module.guarded_step(optimizer, norm, 1e-5)
        return tokens

    def check() -> list[float]:
        return [pair.nll(activation_BD, texts)]

    session.serve(repeat, check)
