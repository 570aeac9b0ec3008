"""Words that the unembedding names for an activation (the logit lens): what can be said without any training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlae.evaluation.quotes import bare_target
from nlae.terminal.progress import track


@torch.no_grad()
def lens_words(autoencoder: Any, raw_ND: Tensor, count: int, batch_size: int, name: str) -> list[str]:
    """The `count` likeliest distinct words of each activation, likeliest first, joined by commas.

    An activation goes through the target's own final norm and output head. Tokens are stripped of blanks; those that
    are nothing else, or differ from an earlier one in case alone, are left out.

    Args:
        autoencoder: the one whose target it is.
        raw_ND: activations as wide as the residual stream.
        count: words of each.
        batch_size: rows at a time.
        name: for the bar.
    """
    target, texts = autoencoder.target, []
    norm = getattr(target.architecture.decoder(target.model), target.architecture.final_norm_name)
    with bare_target(autoencoder):
        for start in track(range(0, len(raw_ND), batch_size), description=f"unembed ({name})"):
            part_BD = raw_ND[start : start + batch_size].to(target.device, target.dtype)
            ids_BK = target.logits(norm(part_BD)).topk(min(4 * count, target.n_tokens), dim=-1).indices
            texts += [_joined(target.tokenizer, ids, count) for ids in ids_BK.tolist()]
    return texts


def _joined(tokenizer: Any, ids: list[int], count: int) -> str:
    words: dict[str, str] = {}
    for token in ids:
        word = str(tokenizer.decode([token])).strip()
        if word and len(words) < count:
            words.setdefault(word.lower(), word)
    return ", ".join(words.values())
