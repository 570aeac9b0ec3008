"""What this machine can do at best, measured between the repetitions: one large matrix product, one large copy."""

from __future__ import annotations

import time

import torch

from experiments.benchmarks.job import Job
from experiments.benchmarks.session import Session, synchronise

TRIES = 3


def measure(job: Job, session: Session) -> None:
    """Answer every `run` with `flops` (FLOP/s in the job's type) and `copy` (bytes read and written per second)."""
    gpu = job.device.startswith("cuda")
    n = 8192 if gpu else 2048
    dtype = getattr(torch, job.dtype)
    left, right = (torch.randn(n, n, device=job.device).to(dtype) for _ in range(2))
    source = torch.ones((1 << 30 if gpu else 1 << 26), dtype=torch.float32, device=job.device)
    sink = torch.empty_like(source)
    session.ready()
    while True:
        session.wait()
        session.start()
        product = min(_seconds(lambda: torch.mm(left, right), job.device) for _ in range(TRIES))
        copying = min(_seconds(lambda: sink.copy_(source), job.device) for _ in range(TRIES))
        session.done(1, flops=2.0 * n**3 / product, copy=2.0 * source.nbytes / copying)


def _seconds(do: object, device: str) -> float:
    assert callable(do)
    synchronise(device)
    started = time.perf_counter()
    do()
    synchronise(device)
    return time.perf_counter() - started
