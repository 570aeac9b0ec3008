"""Activations of 4 rows a passage at the output of one block: corpus in, shards on disk out.

Peers keep their rows in memory; only ours writes them. All passages have one length and are read to the end, so nothing
is won by cutting or sorting.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import sample
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject
from nlae.activations.extraction import extract
from nlae.target.reading import SitesReader


def ours(job: Job, session: Session) -> None:
    """`extract` into a fresh folder, as the stage calls it."""
    target, site, corpus = (
        subject.target(job),
        subject.site(job),
        subject.corpus(job.document_ids[: job.sizes.documents], job.places),
    )
    resolved = site.resolve(target.n_layers)

    def repeat() -> int:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=job.folder) as scratch:
            metrics = extract(
                target,
                site,
                corpus,
                Path(scratch),
                batch_tokens=job.sizes.batch_tokens,
                shard_rows=8192,
                dtype="float32",
            )
            shutil.rmtree(scratch, ignore_errors=True)
            Path(scratch).mkdir()
        return int(metrics["tokens"])

    def check() -> list[float]:
        reader = SitesReader(target, [resolved])
        few = [place for place in job.places if place[0] < 2]
        return sample(reader.read(job.document_ids[:2], few)[0][0])

    with torch.no_grad():
        session.serve(repeat, check)
