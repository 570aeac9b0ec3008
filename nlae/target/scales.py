"""Factors that some families keep outside their modules: before the first block and behind the output head.

Granite and HyperCLOVAX multiply embeddings after the embedding module, Gemma inside it, which needs nothing here.
Cohere, Granite and HyperCLOVAX multiply or divide their logits, Gemma 2 bends them below a cap. Names of these numbers
say too little (`logits_scaling` divides in one family and multiplies in another), so `self_check` compares what is
read here with what the model itself does.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nlae.functional.likelihood import shaped

_MULTIPLY_BY_SCALING = ("hyperclovax",)  # the others that have `logits_scaling` divide


@dataclass(frozen=True)
class LogitShape:
    """What a causal LM does to the values of its output head: cap · tanh(scale · x / cap).

    Attributes:
        scale: factor.
        cap: soft cap; None leaves the values as they are.
    """

    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, model: Any) -> "LogitShape":
        """That of a loaded causal LM."""
        config = model.config
        scale = 1.0
        for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
            scale *= _number(config, name)
        scaling = _number(config, "logits_scaling")
        scale *= scaling if config.model_type.startswith(_MULTIPLY_BY_SCALING) else 1 / scaling
        return cls(scale, getattr(config, "final_logit_softcapping", None) or None)

    def __call__(self, value: Tensor) -> Tensor:
        """Logits from the head's values, at least float32."""
        return shaped(value.to(torch.promote_types(value.dtype, torch.float32)), self.scale, self.cap)


def embedding_multiplier(model: Any) -> float:
    """What a causal LM or its decoder multiplies embeddings by, looked up or given, before its first block."""
    return _number(model.config, "embedding_multiplier")


def output_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits (…, V) from hidden states (…, D) after the final norm, at least float32, as the model itself has them."""
    return LogitShape.of(model)(model.get_output_embeddings()(hidden))


def _number(config: Any, name: str) -> float:
    value = getattr(config, name, None)
    return 1.0 if value is None else float(value)
