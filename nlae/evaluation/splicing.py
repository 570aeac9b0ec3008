"""What the target goes on to say once its activation is replaced: the effect of a vector, not its direction.

The vector is written at the site's own hook, at the last position of a context and nowhere else, and only the
prediction of the next token is looked at. Left out: later tokens, which see the vector through attention alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nlae.evaluation.quotes import bare_target
from nlae.target.hooks import splice
from nlae.target.model import pad_right
from nlae.terminal.progress import track


@dataclasses.dataclass(frozen=True)
class Effect:
    """What replacing the activation of N contexts did; float64, in nats.

    Attributes:
        kl_N: KL of the next-token distribution as it was from what it became.
        entropy_N: cross-entropy of the true next token.
        same_N: 1 where the likeliest token stayed the same.
    """

    kl_N: Tensor
    entropy_N: Tensor
    same_N: Tensor


def effects(
    autoencoder: Any,
    contexts: Sequence[Sequence[int]],
    next_N: Sequence[int],
    vectors: Mapping[str, Tensor],
    batch_size: int,
) -> tuple[Tensor, dict[str, Effect]]:
    """The cross-entropy of the next tokens as the target is [N], and the effect of each kind of vector.

    Args:
        autoencoder: at one site, with its target.
        contexts: token ids that end at the position to be replaced, from the beginning of the text.
        next_N: the tokens that follow.
        vectors: raw activations [N, width] by name.
        batch_size: contexts together; those of like length share a batch.
    """
    order = sorted(range(len(contexts)), key=lambda i: len(contexts[i]))
    clean_N = torch.zeros(len(contexts), dtype=torch.float64)
    names = ("kl_N", "entropy_N", "same_N")
    found = {name: Effect(*(torch.zeros_like(clean_N) for _ in names)) for name in vectors}
    for start in track(range(0, len(order), batch_size), description="splice into the target"):
        chosen = order[start : start + batch_size]
        part, wanted_B1 = [contexts[i] for i in chosen], torch.tensor([[next_N[i]] for i in chosen])
        clean_BV = _logprobs(autoencoder, part, None)
        clean_N[chosen] = -clean_BV.gather(1, wanted_B1).squeeze(1)
        for name, vector_ND in vectors.items():
            spliced_BV = _logprobs(autoencoder, part, vector_ND[chosen])
            effect = found[name]
            effect.kl_N[chosen] = (clean_BV.exp() * (clean_BV - spliced_BV)).sum(1)
            effect.entropy_N[chosen] = -spliced_BV.gather(1, wanted_B1).squeeze(1)
            effect.same_N[chosen] = (clean_BV.argmax(1) == spliced_BV.argmax(1)).double()
    return clean_N, found


def _logprobs(autoencoder: Any, contexts: Sequence[Sequence[int]], activation_BD: Tensor | None) -> Tensor:
    """Log-probabilities of the next token, float64 [B, V] on the CPU; None leaves the activation as it is."""
    with bare_target(autoencoder), _replaced(autoencoder, contexts, activation_BD):
        logits_BV = autoencoder.target.next_token_logits(contexts)
    return logits_BV.cpu().double().log_softmax(-1)


@contextlib.contextmanager
def _replaced(autoencoder: Any, contexts: Sequence[Sequence[int]], activation_BD: Tensor | None) -> Iterator[None]:
    if activation_BD is None:
        yield
        return
    target = autoencoder.target
    _, mask_BT = pad_right(contexts, target.pad_id)
    where_BT = mask_BT.cumsum(1) == mask_BT.sum(1, keepdim=True)
    # the last token alone: padding has the same cumulative count
    with splice(target.model, autoencoder.site, activation_BD, where_BT & mask_BT.bool()):
        yield
