"""Training steps as most would write them: peft on a Hugging Face model, whole padded rows, loss by labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import injected_prompt, load_model, vectors
from experiments.benchmarks.peers.adapters import Reader, adamw, commanded, lora, quiet_trainer
from experiments.benchmarks.session import Session


def verbalizer_sft(job: Job, session: Session) -> None:
    """Prompt and response in one padded row, the vector in the slot's embedding, −100 on the prompt."""
    from peft import get_peft_model

    n = job.sizes.write_rows
    model = load_model(job)
    prompt_BPD = injected_prompt(job, model, n)
    embedding = model.get_input_embeddings()
    peft_model: Any = get_peft_model(model, lora(job)).train()
    optimizer = adamw(peft_model)
    ids_BT, mask_BT = _padded(job.response_ids[:n], job.device)
    label_BT = torch.cat(
        [torch.full(prompt_BPD.shape[:2], -100, device=job.device), ids_BT.masked_fill(~mask_BT, -100)], 1
    )
    seen_BT = torch.cat([torch.ones(prompt_BPD.shape[:2], dtype=torch.bool, device=job.device), mask_BT], 1).long()

    def loss() -> Tensor:
        embedded_BTD = torch.cat([prompt_BPD, embedding(ids_BT)], 1)
        out: Tensor = peft_model(
            inputs_embeds=embedded_BTD, attention_mask=seen_BT, labels=label_BT, use_cache=False
        ).loss
        return out

    def repeat() -> int:
        loss().backward()
        torch.nn.utils.clip_grad_norm_([p for p in peft_model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return int(mask_BT.sum())

    def check() -> list[float]:
        with torch.no_grad():
            return [float(loss())]

    session.serve(repeat, check)


def _padded(rows: list[list[int]], device: str) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    ids_BT = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    mask_BT = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows], device=device)
    return ids_BT, mask_BT


def _reconstructor(job: Job, session: Session, truncated: bool) -> None:
    n = job.sizes.read_rows
    reader, activation_BD = Reader(job, truncated).train(), vectors(job)[:n]
    optimizer, texts = adamw(reader), job.explanations[:n]

    def repeat() -> int:
        reader.error(texts, activation_BD).mean().backward()
        torch.nn.utils.clip_grad_norm_([p for p in reader.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return sum(len(ids) for ids in job.response_ids[:n])

    def check() -> list[float]:
        with torch.no_grad():
            return [float(reader.error(texts, activation_BD).mean())]

    session.serve(repeat, check)


def reconstructor_sft(job: Job, session: Session) -> None:
    """All blocks run, `output_hidden_states` is picked from."""
    _reconstructor(job, session, truncated=False)


def reconstructor_sft_truncated(job: Job, session: Session) -> None:
    """Only the blocks needed run."""
    _reconstructor(job, session, truncated=True)


def reconstructor_sft_trainer(job: Job, session: Session) -> None:
    """The same in a Hugging Face Trainer, which stands for TRL: SFTTrainer has no regression."""
    from transformers import Trainer, TrainingArguments

    n = job.sizes.read_rows
    reader, activation_ND = Reader(job, truncated=False), vectors(job)
    rows = [{"text": job.explanations[i], "index": i} for i in range(n)]

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        encoded = reader.encode([example["text"] for example in examples])
        return encoded | {"true_BD": torch.stack([activation_ND[example["index"]] for example in examples])}

    class Regression(Trainer):
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            true_BD = torch.nn.functional.normalize(inputs.pop("true_BD").float(), dim=-1)
            return (model(**inputs) - true_BD).pow(2).sum(-1).mean()

    def units() -> int:
        return sum(len(ids) for ids in job.response_ids[:n])

    def check() -> list[float]:
        with torch.no_grad():
            return [float(reader.error(job.explanations[:n], activation_ND[:n]).mean())]

    arguments = TrainingArguments(**quiet_trainer(job, n), remove_unused_columns=False)
    trainer = Regression(
        model=reader,
        args=arguments,
        train_dataset=rows,
        data_collator=collate,
        callbacks=[commanded(session, units, check)],
    )
    trainer.train()
