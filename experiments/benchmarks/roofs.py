"""What this machine can do at best, measured between the repetitions: one large matrix product, one large copy.

The product is that of the fastest kernel at hand for the job's type: torch's own, or on x86 CPUs oneDNN's, with the
matrix packed and as it lies. Ours multiplies by oneDNN: beside a slower kernel it would seem to pass through its roof.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from experiments.benchmarks.job import Job
from experiments.benchmarks.session import Session, synchronise
from nlae.functional.linear import available, pack, product

TRIES = 3


def measure(job: Job, session: Session) -> None:
    """Answer every `run` with `flops` (FLOP/s in the job's type) and `copy` (bytes read and written per second)."""
    gpu = job.device.startswith("cuda")
    dtype = getattr(torch, job.dtype)
    # without units for it a large product in bfloat16 takes minutes
    n = 8192 if gpu else 2048 if available(dtype) or dtype is torch.float32 else 256
    left, right = (torch.randn(n, n, device=job.device).to(dtype) for _ in range(2))
    source = torch.ones((1 << 30 if gpu else 1 << 26), dtype=torch.float32, device=job.device)
    sink = torch.empty_like(source)
    session.ready()
    while True:
        session.wait()
        session.start()
        products = {name: best(run, job.device) for name, run in kernels(left, right).items()}
        rates = {f"flops_{name}": 2.0 * n**3 / seconds for name, seconds in products.items()}
        copying = best(lambda: sink.copy_(source), job.device)
        session.done(1, flops=max(rates.values()), copy=2.0 * source.nbytes / copying, **rates)


def kernels(left_NN: Tensor, right_NN: Tensor) -> dict[str, Callable[[], object]]:
    """Every way at hand to multiply these two, by name."""
    ways: dict[str, Callable[[], object]] = {"torch": partial(torch.mm, left_NN, right_NN)}
    if left_NN.device.type == "cpu" and available(left_NN.dtype):
        ways["onednn"] = partial(product, left_NN, right_NN)
        ways["onednn_packed"] = partial(product, left_NN, pack(right_NN))
    return ways


def best(do: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of a few runs."""
    return min(_seconds(do, device) for _ in range(TRIES))


def _seconds(do: Callable[[], object], device: str) -> float:
    synchronise(device)
    started = time.perf_counter()
    do()
    synchronise(device)
    return time.perf_counter() - started
