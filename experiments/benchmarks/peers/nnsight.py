"""nnsight: a trace over the Hugging Face model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import load_model, load_tokenizer
from experiments.benchmarks.peers.hf import serve_batches
from experiments.benchmarks.session import Session


def _wrapped(job: Job) -> Any:
    from nnsight import TransformersModel

    return TransformersModel(load_model(job), tokenizer=load_tokenizer(job))


def extraction(job: Job, session: Session) -> None:
    """A trace that saves one block's output; the model runs to its end."""
    model = _wrapped(job)
    block = model.model.layers[job.layer]

    def read(ids_BT: Tensor) -> Tensor:
        with model.trace(ids_BT):
            hidden_BTD = block.output.save()
        return hidden_BTD

    serve_batches(job, session, read)


def extraction_stopped(job: Job, session: Session) -> None:
    """The same, stopped behind the block."""
    model = _wrapped(job)
    block = model.model.layers[job.layer]

    def read(ids_BT: Tensor) -> Tensor:
        with model.trace(ids_BT) as tracer:
            hidden_BTD = block.output.save()
            tracer.stop()
        return hidden_BTD

    serve_batches(job, session, read)
