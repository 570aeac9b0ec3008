"""What a config says of a LoRA adapter, and peft's configuration of it."""

from __future__ import annotations

import dataclasses
from typing import Any

from peft import LoraConfig


@dataclasses.dataclass(frozen=True)
class AdapterSettings:
    """A LoRA adapter on every linear map of the blocks a role runs through.

    Attributes:
        rank: inner dimension.
        alpha: the update is scaled by alpha / rank.
    """

    rank: int = 16
    alpha: float = 16.0

    def config(self, modules: list[str], *, transposed: bool = False) -> LoraConfig:
        """The peft configuration for exactly these modules (dotted names); GPT-2 keeps its weights transposed."""
        alpha: Any = self.alpha  # peft's annotation says int, but it only divides by it
        return LoraConfig(
            r=self.rank,
            lora_alpha=alpha,
            lora_dropout=0.0,
            target_modules=modules,
            bias="none",
            fan_in_fan_out=transposed,
        )
