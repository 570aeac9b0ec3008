"""Attention of many rows that share the keys of one prefix.

The prefix's keys are read once for all rows, and no key is repeated for the query heads that share it. Written with
plain products, so it runs on every device; attention sinks are left out and refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface

from nlae.errors import NlaeError

NAME = "nlae_shared_prefix"


class Past(NamedTuple):
    """What one layer remembers; K key–value heads of width D.

    Attributes:
        prefix_KPD: shared by all rows.
        own_BKTD: of each row, after the prefix.
        position_BS: place of each query in its row, prefix included.
    """

    prefix_KPD: Tensor
    own_BKTD: Tensor
    position_BS: Tensor


def shared_prefix_attention(
    module: Any,
    query_BHSD: Tensor,
    key: Past,
    value: Past,
    attention_mask: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As transformers' attention functions: the result, shape (B, S, H, D), and no weights.

    Args:
        module: the attention module.
        query_BHSD: queries.
        key: keys.
        value: values.
        attention_mask: bool (B, 1, S, T), which of a row's own keys each query may see; the prefix is seen by all.
        scaling: of the scores; 1/√D by default.
        dropout: must be 0.
        softcap: scores are capped at ± this, smoothly.
        sliding_window: keys this far back and farther are not seen.
        **others: ignored, but for attention sinks.

    Raises:
        NlaeError: the model has attention sinks.
    """
    if others.get("s_aux") is not None or dropout:
        raise NlaeError("rollout=local knows no attention sinks and no dropout; choose rollout=plain for this target")
    batch, heads, length, width = query_BHSD.shape
    n_prefix, n_own, shared = key.prefix_KPD.shape[1], key.own_BKTD.shape[2], key.own_BKTD.shape[1]
    # query heads that share a key head lie side by side: fold them into the query axis
    query_BKQD = query_BHSD.reshape(batch, shared, -1, width) * (width**-0.5 if scaling is None else scaling)
    query_KND = query_BKQD.transpose(0, 1).reshape(shared, -1, width)
    score_KNP = query_KND @ key.prefix_KPD.transpose(-1, -2)
    score_BKQP = score_KNP.view(shared, batch, -1, n_prefix).transpose(0, 1)
    score_BKQT = query_BKQD @ key.own_BKTD.transpose(-1, -2)
    score_BKQJ = torch.cat([score_BKQP, score_BKQT], -1)
    if softcap is not None:
        score_BKQJ = torch.tanh(score_BKQJ / softcap) * softcap
    seen_BSJ = _seen(attention_mask[:, 0], key.position_BS, n_prefix, sliding_window)
    folded_BKGSJ = score_BKQJ.view(batch, shared, -1, length, n_prefix + n_own)
    folded_BKGSJ = folded_BKGSJ.masked_fill(~seen_BSJ[:, None, None], float("-inf"))
    weight_BKQJ = folded_BKGSJ.softmax(-1, dtype=torch.float32).to(query_BHSD.dtype).view_as(score_BKQJ)
    weight_KNP = weight_BKQJ[..., :n_prefix].transpose(0, 1).reshape(shared, -1, n_prefix)
    from_prefix_BKQD = (weight_KNP @ value.prefix_KPD).view(shared, batch, -1, width).transpose(0, 1)
    out_BKQD = from_prefix_BKQD + weight_BKQJ[..., n_prefix:] @ value.own_BKTD
    return out_BKQD.reshape(batch, heads, length, width).transpose(1, 2), None


def _seen(own_BST: Tensor, position_BS: Tensor, n_prefix: int, window: int | None) -> Tensor:
    """Which key each query may see, prefix first; bool (B, S, P + T)."""
    seen_BSJ = torch.nn.functional.pad(own_BST, (n_prefix, 0), value=True)
    if window is not None and seen_BSJ.shape[-1] > window:
        place_J = torch.arange(seen_BSJ.shape[-1], device=own_BST.device)
        seen_BSJ = seen_BSJ & (position_BS[..., None] - place_J < window)
    return seen_BSJ


AttentionInterface.register(NAME, shared_prefix_attention)
