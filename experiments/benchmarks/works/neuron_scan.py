"""Exemplars, moments and panels of every MLP neuron of every block in one pass.

The peer only runs the same passages through the full model; a ratio of 0.5 is the scan at twice the time of that. Ours
reads three passages more, since its panels need held-out text.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from experiments.benchmarks.job import Job
from experiments.benchmarks.session import Session
from experiments.benchmarks.works import subject
from nlae.dictionary.scan import Scanner

# two test works: one sets the bar, the other is reported
HELD_OUT = ("val", "test", "test")


def ours(job: Job, session: Session) -> None:
    """`scan` into a fresh folder, as the stage calls it."""
    sizes, target = job.sizes, subject.target(job)
    passages = job.document_ids[: sizes.scan_documents]
    splits = ["train"] * len(passages) + list(HELD_OUT)
    ids = passages + job.document_ids[: len(HELD_OUT)]
    corpus = subject.corpus(ids, [(d, sizes.length - 1) for d in range(len(ids))], splits)
    panels = {"select": 1, "bar": 1, "test": 1}
    scanner = Scanner(window_tokens=sizes.batch_tokens, panels=panels)

    def repeat() -> int:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=job.folder) as scratch:
            scanner.scan(target, corpus, Path(scratch) / "scan")
        return sum(map(len, passages))

    session.serve(repeat)
