"""SAELens: its ActivationsStore over a Hugging Face model, on passages that are already tokenised."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import documents, load_model, load_tokenizer, positions, sample
from experiments.benchmarks.session import Session


def extraction(job: Job, session: Session) -> None:
    """`get_raw_llm_batch` until all passages are through: the store's own batching, rows gathered to the CPU."""
    from datasets import Dataset
    from sae_lens.load_model import HookedProxyLM
    from sae_lens.training.activations_store import ActivationsStore

    hook = f"model.layers.{job.layer}"
    model = HookedProxyLM(load_model(job), load_tokenizer(job), hook_names=[hook])
    sizes, chosen = job.sizes, positions(job)
    per_batch = max(1, sizes.batch_tokens // sizes.length)
    store = ActivationsStore(
        model=model,
        dataset=Dataset.from_dict({"input_ids": job.document_ids[: sizes.documents]}),
        streaming=False,
        hook_name=hook,
        hook_head_index=None,
        context_size=sizes.length,
        d_in=model.model.config.hidden_size,
        n_batches_in_buffer=2,
        total_training_tokens=sizes.documents,
        store_batch_size_prompts=per_batch,
        train_batch_size_tokens=sizes.batch_tokens,
        prepend_bos=False,
        normalize_activations="none",
        device=torch.device(job.device),
        dtype=job.dtype,
    )
    batches = len(documents(job))

    def rows(hidden_BTD: Tensor) -> Tensor:
        return hidden_BTD[:, chosen].flatten(0, 1).float().cpu()

    def repeat() -> int:
        done = 0
        for _ in range(batches):
            hidden_ND, ids_N = store.get_raw_llm_batch()
            rows(hidden_ND.unflatten(0, (-1, sizes.length)))
            done += len(ids_N)
        return done

    with torch.no_grad():
        session.serve(repeat, lambda: sample(rows(store.get_activations(documents(job)[0][:2]))))
