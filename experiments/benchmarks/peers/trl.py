"""TRL's trainers. They take token ids, so no vector can be injected: the marker's own embedding stands in the slot,
with prompts of the same length and the same number of tokens.
"""

from __future__ import annotations

import torch

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import load_model, load_tokenizer, vectors
from experiments.benchmarks.peers.adapters import Reader, adamw, commanded, lora, quiet_trainer
from experiments.benchmarks.session import Session


def verbalizer_sft(job: Job, session: Session) -> None:
    """SFTTrainer on tokenised rows, loss on the completion alone."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    n = job.sizes.write_rows
    prompt, responses = job.prompt_ids, job.response_ids[:n]
    rows = Dataset.from_dict(
        {
            "input_ids": [prompt + ids for ids in responses],
            "completion_mask": [[0] * len(prompt) + [1] * len(ids) for ids in responses],
        }
    )
    trainer = SFTTrainer(
        model=load_model(job),
        args=SFTConfig(**quiet_trainer(job, n), completion_only_loss=True, max_length=None),
        train_dataset=rows,
        processing_class=load_tokenizer(job),
        peft_config=lora(job),
        callbacks=[commanded(session, lambda: sum(map(len, responses)))],
    )
    trainer.train()


def rl_step(job: Job, session: Session) -> None:
    """GRPOTrainer rewarded by a reconstructor's forward, then that reconstructor's own step on the same texts."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    sizes, n = job.sizes, job.n_rows
    reader = Reader(job, truncated=True).train()
    optimizer = adamw(reader)
    activation_BD = vectors(job)[: sizes.activations].repeat_interleave(sizes.samples, 0)
    last: list[str] = []
    written = [0]

    def reward(completions: list[str], completion_ids: list[list[int]], **columns: object) -> list[float]:
        last[:] = completions
        written[0] = sum(map(len, completion_ids))
        with torch.no_grad():
            error_B = torch.cat([
                reader.error(completions[i : i + sizes.micro_batch], activation_BD[i : i + sizes.micro_batch])
                for i in range(0, len(completions), sizes.micro_batch)
            ])  # fmt: skip
        return [-float(error) for error in error_B]

    def reconstruct() -> int:
        """The separate step, and the count of what was sampled."""
        for start in range(0, len(last), sizes.micro_batch):
            rows = slice(start, start + sizes.micro_batch)
            (reader.error(last[rows], activation_BD[rows]).sum() / len(last)).backward()
        optimizer.step()
        optimizer.zero_grad()
        if written[0] != n * sizes.new_tokens:
            raise RuntimeError(f"{written[0]} tokens were written, {n * sizes.new_tokens} were to be")
        return written[0]

    batch = min(n, sizes.micro_batch)
    config = GRPOConfig(
        **quiet_trainer(job, batch),
        gradient_accumulation_steps=n // batch,
        num_generations=sizes.samples,
        max_completion_length=sizes.new_tokens,
        temperature=1.0,
        beta=0.02,
        generation_kwargs={"min_new_tokens": sizes.new_tokens},
    )
    trainer = GRPOTrainer(
        model=load_model(job),
        args=config,
        reward_funcs=reward,
        train_dataset=Dataset.from_dict({"prompt": [job.prompt_text] * sizes.activations}),
        processing_class=load_tokenizer(job),
        peft_config=lora(job),
        callbacks=[commanded(session, reconstruct)],
    )
    trainer.train()
