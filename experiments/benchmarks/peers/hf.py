"""Plain Hugging Face: forward passes and `generate`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import (
    cut,
    documents,
    injected_prompt,
    load_model,
    load_tokenizer,
    positions,
    sample,
    vectors,
)
from experiments.benchmarks.session import Session

PAGE = 64


def serve_batches(job: Job, session: Session, read: Any) -> None:
    """Every batch through `read`, rows gathered to the CPU."""
    batches, chosen = documents(job), positions(job)

    def rows(ids_BT: Tensor) -> Tensor:
        return read(ids_BT)[:, chosen].flatten(0, 1).float().cpu()

    def repeat() -> int:
        torch.cat([rows(ids_BT) for ids_BT in batches])
        return sum(ids_BT.numel() for ids_BT in batches)

    with torch.no_grad():
        session.serve(repeat, lambda: sample(rows(batches[0][:2])))


def extraction(job: Job, session: Session) -> None:
    """The causal LM with `output_hidden_states=True`; hidden state K + 1 is the output of block K."""
    model = load_model(job)

    def read(ids_BT: Tensor) -> Tensor:
        return model(input_ids=ids_BT, output_hidden_states=True).hidden_states[job.layer + 1]

    serve_batches(job, session, read)


def extraction_stopped(job: Job, session: Session) -> None:
    """The decoder cut to the blocks that are needed."""
    decoder = cut(load_model(job), job.layer + 1)
    serve_batches(job, session, lambda ids_BT: decoder(input_ids=ids_BT).last_hidden_state)


def extraction_bare(job: Job, session: Session) -> None:
    """The truncated forward on the same batches and nothing else: what extraction can at best reach."""
    decoder, batches = cut(load_model(job), job.layer + 1), documents(job)

    def repeat() -> int:
        for ids_BT in batches:
            decoder(input_ids=ids_BT, use_cache=False)
        return sum(ids_BT.numel() for ids_BT in batches)

    with torch.no_grad():
        session.serve(repeat)


def forward(job: Job, session: Session) -> None:
    """All blocks and the head on every token."""
    model, batches = load_model(job), documents(job, job.sizes.scan_documents)

    def repeat() -> int:
        for ids_BT in batches:
            model(input_ids=ids_BT, use_cache=False)
        return sum(ids_BT.numel() for ids_BT in batches)

    with torch.no_grad():
        session.serve(repeat)


def _sampling(job: Job, tokens: int) -> dict[str, Any]:
    return {
        "max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": True, "temperature": 1.0, "top_k": 0,
        "top_p": 1.0, "pad_token_id": 0, "use_cache": True,
    }  # fmt: skip


def _generate(model: Any, embedded_BPD: Tensor, **settings: Any) -> Tensor:
    mask_BP = torch.ones(embedded_BPD.shape[:2], dtype=torch.long, device=embedded_BPD.device)
    ids: Tensor = model.generate(inputs_embeds=embedded_BPD, attention_mask=mask_BP, **settings)
    return ids


def rollout(job: Job, session: Session) -> None:
    """`generate` on the whole prompt of every row, the vector already in its embedding."""
    model = load_model(job)
    embedded_BPD = injected_prompt(job, model, job.sizes.rows)

    def repeat() -> int:
        return _generate(model, embedded_BPD, **_sampling(job, job.sizes.new_tokens)).numel()

    def check() -> list[float]:
        few = min(8, job.sizes.new_tokens)
        settings = _sampling(job, few) | {"do_sample": False, "min_new_tokens": 0, "temperature": None, "top_p": None}
        return [float(i) for i in _generate(model, embedded_BPD[:4], **settings | {"top_k": None}).flatten().tolist()]

    with torch.no_grad():
        session.serve(repeat, check)


def rollout_batch(job: Job, session: Session) -> None:
    """`generate_batch`: continuous batching over token ids; the marker's own embedding stands in the slot."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model, sizes = load_model(job), job.sizes
    sampling = _sampling(job, sizes.new_tokens) | {"eos_token_id": -1}
    sampling.pop("min_new_tokens")
    config = GenerationConfig(**sampling)
    # left to itself it takes most of the memory, whatever the requests need
    pages = -(-(len(job.prompt_ids) + sizes.new_tokens) // PAGE)
    paging = ContinuousBatchingConfig(
        page_size=PAGE, num_blocks=sizes.rows * pages + 8, max_batch_tokens=max(256, sizes.rows * len(job.prompt_ids))
    )
    inputs = [job.prompt_ids] * job.sizes.rows

    def repeat() -> int:
        done = model.generate_batch(
            inputs=inputs, generation_config=config, continuous_batching_config=paging, progress_bar=False
        )
        failed = [one.error for one in done.values() if one.error]
        if failed or len(done) < len(inputs):
            raise RuntimeError(failed[0] if failed else f"{len(done)} of {len(inputs)} requests came back")
        return sum(len(one.generated_tokens) for one in done.values())

    with torch.no_grad():
        session.serve(repeat)


def evaluation(job: Job, session: Session) -> None:
    """`generate`, then the full model reads what was written, last token's hidden state up to the site's block."""
    model, tokenizer = load_model(job), load_tokenizer(job)
    embedded_BPD = injected_prompt(job, model, job.sizes.rows)
    true_BD = torch.nn.functional.normalize(vectors(job)[: job.sizes.rows], dim=-1)

    def read(texts: list[str]) -> Tensor:
        filled = [job.reconstructor.format(explanation=text) for text in texts]
        batch = tokenizer(filled, return_tensors="pt", padding=True).to(job.device)
        hidden_BTD = model(**batch, output_hidden_states=True).hidden_states[job.layer + 1]
        last_BD = hidden_BTD[torch.arange(len(texts)), batch["attention_mask"].sum(1) - 1]
        return torch.nn.functional.normalize(last_BD.float(), dim=-1)

    def repeat() -> int:
        ids_BT = _generate(model, embedded_BPD, **_sampling(job, job.sizes.new_tokens))
        rebuilt_BD = read(tokenizer.batch_decode(ids_BT))
        float((rebuilt_BD - true_BD).pow(2).sum(-1).mean())
        return len(ids_BT)

    with torch.no_grad():
        session.serve(repeat, lambda: sample(read(job.explanations[:4])))
