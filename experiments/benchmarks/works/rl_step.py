"""One update of joint reinforcement: groups of sampled explanations, reward from the reconstructor, KL to the frozen
reference, a policy step, a regression step.

No row ends before its cap, so every explanation earns the failure reward and advantages are zero; the arithmetic is the
same as in training.
"""

from __future__ import annotations

import torch

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import vectors
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject
from nlae.activations.datamodule import Batch
from nlae.training import Reinforce
from nlae.training.reward import Fidelity, Reward


def ours(job: Job, session: Session) -> None:
    """`Reinforce.training_step`."""
    pair = subject.pair(job)
    module = Reinforce(
        pair,
        engine=pair.engine,
        reward=Reward({"fidelity": Fidelity()}),
        samples=job.sizes.samples,
        updates=10**6,
        verbalizer_lr=1e-6,
        reconstructor_lr=1e-5,
    )
    subject.attach(module)
    groups = job.sizes.activations
    row_B = torch.arange(groups)
    batch = Batch(0, {pair.site.name: vectors(job)[:groups]}, row_B, row_B, [[0]] * groups)
    expected = job.n_rows * job.sizes.new_tokens

    def repeat() -> int:
        module.training_step(batch, 0)
        written = round(module.metrics["rollout/tokens"] * job.n_rows)
        if written != expected:
            raise RuntimeError(f"{written} tokens were written, {expected} were to be: a row ended early")
        return written

    session.serve(repeat)
