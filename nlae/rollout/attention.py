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
        own_NTD: of each row and head, row by row, after the prefix; N = B·K. Three axes, so that products read the
            cache where it lies.
        position_BS: place of each query in its row, prefix included.
        all_seen: whether every query sees every key of its row (but for sliding windows).
    """

    prefix_KPD: Tensor
    own_NTD: Tensor
    position_BS: Tensor
    all_seen: bool


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
    if query_BHSD.device.type != "cpu":
        return _attend(query_BHSD, key, value, attention_mask, scaling, softcap, sliding_window), None
    # autocast would narrow what is kept wide, all of it for every token
    with torch.autocast("cpu", enabled=False):
        query_wide_BHSD = query_BHSD.to(kept_in(query_BHSD))
        out_BSHD = _attend(query_wide_BHSD, key, value, attention_mask, scaling, softcap, sliding_window)
        return out_BSHD.to(query_BHSD.dtype), None


def kept_in(tensor: Tensor) -> torch.dtype:
    """The type that keys and values like this are kept and multiplied in.

    At least float32 on CPUs: the few queries of a step and a row's own keys make small products. Of narrow types oneDNN
    copies both sides of those first, which takes two to four times as long as the wide product itself.
    """
    return torch.promote_types(tensor.dtype, torch.float32) if tensor.device.type == "cpu" else tensor.dtype


def _attend(
    query_BHSD: Tensor,
    key: Past,
    value: Past,
    attention_mask: Tensor,
    scaling: float | None,
    softcap: float | None,
    sliding_window: int | None,
) -> Tensor:
    batch, heads, length, width = query_BHSD.shape
    shared, n_prefix, _ = key.prefix_KPD.shape
    # query heads that share a key head lie side by side: fold them into the query axis
    query_BKQD = query_BHSD.reshape(batch, shared, -1, width) * (width**-0.5 if scaling is None else scaling)
    query_KMD = query_BKQD.transpose(0, 1).reshape(shared, -1, width)
    score_BKQP = _rows_first(torch.bmm(query_KMD, key.prefix_KPD.transpose(1, 2)), batch)
    score_NQT = torch.bmm(query_BKQD.reshape(batch * shared, -1, width), key.own_NTD.transpose(1, 2))
    score_BKQJ = torch.cat([score_BKQP, score_NQT.unflatten(0, (batch, shared))], -1)
    if softcap is not None:
        score_BKQJ = torch.tanh(score_BKQJ / softcap) * softcap
    if not key.all_seen or (sliding_window is not None and score_BKQJ.shape[-1] > sliding_window):
        seen_BSJ = _seen(attention_mask[:, 0], key.position_BS, n_prefix, sliding_window)
        by_query_BKGSJ = score_BKQJ.unflatten(2, (-1, length))
        score_BKQJ = by_query_BKGSJ.masked_fill_(~seen_BSJ[:, None, None], float("-inf")).flatten(2, 3)
    weight_BKQJ = score_BKQJ.softmax(-1, dtype=torch.float32).to(query_BHSD.dtype)
    weight_KMP = weight_BKQJ[..., :n_prefix].transpose(0, 1).reshape(shared, -1, n_prefix)
    out_BKQD = _rows_first(torch.bmm(weight_KMP, value.prefix_KPD), batch)
    own_NQT = weight_BKQJ[..., n_prefix:].flatten(0, 1)
    out_BKQD = out_BKQD + torch.bmm(own_NQT, value.own_NTD).unflatten(0, (batch, shared))
    return out_BKQD.reshape(batch, heads, length, width).transpose(1, 2)


def _rows_first(of_heads_KMX: Tensor, batch: int) -> Tensor:
    """From one product per key head over all rows' queries (K, B·Q, X) to (B, K, Q, X)."""
    return of_heads_KMX.unflatten(1, (batch, -1)).transpose(0, 1)


def _seen(own_BST: Tensor, position_BS: Tensor, n_prefix: int, window: int | None) -> Tensor:
    """Which key each query may see, prefix first; bool (B, S, P + T)."""
    seen_BSJ = torch.nn.functional.pad(own_BST, (n_prefix, 0), value=True)
    if window is not None and seen_BSJ.shape[-1] > window:
        place_J = torch.arange(seen_BSJ.shape[-1], device=own_BST.device)
        seen_BSJ = seen_BSJ & (position_BS[..., None] - place_J < window)
    return seen_BSJ


AttentionInterface.register(NAME, shared_prefix_attention)
