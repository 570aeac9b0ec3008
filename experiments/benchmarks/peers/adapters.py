"""What the training peers share: LoRA by peft, and stepping a Trainer one update at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import cut, load_model, load_tokenizer
from experiments.benchmarks.session import Session

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(job: Job) -> Any:
    """The same adapter as ours: every linear map of the blocks."""
    from peft import LoraConfig

    return LoraConfig(
        r=job.sizes.rank, lora_alpha=job.sizes.rank, lora_dropout=0.0, target_modules=MODULES, bias="none"
    )


class Reader(nn.Module):
    """A plain reconstructor: peft on a decoder, last token's vector, a linear head.

    Args:
        job: the job.
        truncated: cut the decoder to the blocks needed; otherwise all of them run, and a hidden state is picked.
    """

    def __init__(self, job: Job, truncated: bool) -> None:
        super().__init__()
        from peft import get_peft_model

        model = load_model(job)
        width = model.config.hidden_size
        self.job, self.tokenizer, self.truncated = job, load_tokenizer(job), truncated
        decoder = cut(model, job.layer + 1) if truncated else model.get_decoder()
        self.decoder = get_peft_model(decoder, lora(job))
        self.head = nn.Linear(width, width, bias=False, device=job.device)
        nn.init.eye_(self.head.weight)

    def encode(self, texts: list[str]) -> dict[str, Tensor]:
        """Ids and mask, padded on the right to the longest."""
        filled = [self.job.reconstructor.format(explanation=text) for text in texts]
        return dict(self.tokenizer(filled, return_tensors="pt", padding=True).to(self.job.device))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Unit vectors (B, D)."""
        if self.truncated:
            hidden_BTD = self.decoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        else:
            out = self.decoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
            hidden_BTD = out.hidden_states[self.job.layer + 1]
        last_BD = hidden_BTD[torch.arange(len(input_ids)), attention_mask.sum(1) - 1].float()
        direction_BD = nn.functional.normalize(last_BD, dim=-1)
        return nn.functional.normalize(self.head(direction_BD), dim=-1)

    def error(self, texts: list[str], activation_BD: Tensor) -> Tensor:
        """Squared distance of every row; (B,)."""
        true_BD = nn.functional.normalize(activation_BD.float(), dim=-1)
        return (self(**self.encode(texts)) - true_BD).pow(2).sum(-1)


def adamw(module: nn.Module) -> torch.optim.Optimizer:
    """AdamW on what is trainable."""
    return torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-5, weight_decay=0.0)


def quiet_trainer(job: Job, batch: int) -> dict[str, Any]:
    """Arguments of any Trainer: no logging, no saving, the job's device and type.

    Gradient checkpointing and mixed precision, which TRL turns on by itself, are off: both would cost the peer time.
    """
    return {
        "output_dir": f"{job.folder}/trainer", "per_device_train_batch_size": batch, "max_steps": 10**6,
        "learning_rate": 1e-6, "lr_scheduler_type": "constant", "report_to": "none", "logging_strategy": "no",
        "save_strategy": "no", "use_cpu": job.device == "cpu", "bf16": job.dtype == "bfloat16",
        "gradient_checkpointing": False, "disable_tqdm": True, "dataloader_pin_memory": False, "seed": 0,
    }  # fmt: skip


def commanded(session: Session, units: Callable[[], int], check: Callable[[], list[float]] | None = None) -> Any:
    """A Trainer callback that waits for a command before every step and reports after it.

    Args:
        session: the conversation.
        units: called at the end of a step, inside the measured time: does what the Trainer does not, and counts.
        check: see `Session.serve`.
    """
    from transformers import TrainerCallback

    class Commanded(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **options: Any) -> None:
            session.ready()
            self._wait()

        def on_step_end(self, *arguments: Any, **options: Any) -> None:
            session.done(units())
            self._wait()

        def _wait(self) -> None:
            while (command := session.wait())["do"] != "run":
                if command["do"] == "check":
                    session.send({"check": check() if check is not None else None})
                else:
                    session.send({"profile": None})
            session.start()

    return Commanded()
