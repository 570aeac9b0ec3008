"""Loading a job's model, vectors and tokenizer with plain Hugging Face: what all contenders start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from experiments.benchmarks.job import VECTORS, Job


def load_tokenizer(job: Job) -> Any:
    """The tokenizer; it pads on the right unless told otherwise."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.model_folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def load_model(job: Job, **options: Any) -> Any:
    """The causal LM in the job's type on its device, in eval mode; random weights are drawn there, the same for all."""
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = getattr(torch, job.dtype)
    if not job.random_weights:
        model: Any = AutoModelForCausalLM.from_pretrained(job.model_folder, dtype=dtype, **options)
        return model.to(job.device).eval()
    torch.manual_seed(0)
    with torch.device(job.device):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(job.model_folder), dtype=dtype, **options)
    return model.eval()


def cut(model: Any, blocks: int) -> Any:
    """The decoder with its first `blocks` blocks and no final norm: what one writes who knows where to stop."""
    decoder = model.get_decoder()
    decoder.layers = decoder.layers[:blocks]
    decoder.norm = torch.nn.Identity()
    return decoder


def vectors(job: Job) -> Tensor:
    """Raw vectors on the device, float32."""
    return load_file(str(Path(job.folder) / VECTORS))["activation"].to(job.device)


def documents(job: Job, count: int | None = None) -> list[Tensor]:
    """The first passages in batches of the job's token budget; int64 (B, T) each. None takes those of extraction."""
    size = max(1, job.sizes.batch_tokens // job.sizes.length)
    ids_NT = torch.tensor(job.document_ids[: count or job.sizes.documents], device=job.device)
    return list(ids_NT.split(size))


def positions(job: Job) -> Tensor:
    """Positions read from every passage, the same for all."""
    return torch.tensor([p for d, p in job.places if d == 0], device=job.device)


def sample(rows_ND: Tensor) -> list[float]:
    """A corner of what was computed, for comparison between contenders."""
    return [float(value) for value in rows_ND[:8, :32].float().flatten().tolist()]


def injected_prompt(job: Job, model: Any, rows: int, count: int = 1) -> Tensor:
    """Embeddings of the whole prompt with a vector in the slot: (rows × count, P, D), each vector `count` times."""
    embedding = model.get_input_embeddings()
    ids_1P = torch.tensor([job.prompt_ids], device=job.device)
    embedded_BPD = embedding(ids_1P).detach().repeat(rows, 1, 1)
    direction_BD = torch.nn.functional.normalize(vectors(job)[:rows], dim=-1)
    embedded_BPD[:, len(job.prefix_ids)] = (job.scale * direction_BD).to(embedded_BPD.dtype)
    return embedded_BPD.repeat_interleave(count, 0)
