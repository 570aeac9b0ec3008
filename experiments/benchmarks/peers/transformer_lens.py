"""TransformerLens 4: a bridge over the Hugging Face model, `run_with_cache`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import load_model, load_tokenizer
from experiments.benchmarks.peers.hf import serve_batches
from experiments.benchmarks.session import Session


def _bridge(job: Job) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        job.model_folder,
        hf_model=load_model(job),
        tokenizer=load_tokenizer(job),
        device=job.device,
        dtype=getattr(torch, job.dtype),
    )


def extraction(job: Job, session: Session) -> None:
    """`run_with_cache` as the documentation begins: everything is cached."""
    bridge, name = _bridge(job), f"blocks.{job.layer}.hook_resid_post"

    def read(ids_BT: Tensor) -> Tensor:
        out: Tensor = bridge.run_with_cache(ids_BT)[1][name]
        return out

    serve_batches(job, session, read)


def extraction_stopped(job: Job, session: Session) -> None:
    """One name is cached, and the forward stops behind its block."""
    bridge, name = _bridge(job), f"blocks.{job.layer}.hook_resid_post"

    def read(ids_BT: Tensor) -> Tensor:
        out: Tensor = bridge.run_with_cache(ids_BT, names_filter=name, stop_at_layer=job.layer + 1)[1][name]
        return out

    serve_batches(job, session, read)
