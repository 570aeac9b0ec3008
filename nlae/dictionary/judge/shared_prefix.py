"""Next-token logits of many prompts that begin alike: what they share is read once.

Judging asks thousands of questions with the same instructions and examples, and dozens with the same description; read
one by one they would cost four times as much. Left out: packing rows of different prefixes into one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nlae.target.cache import new_cache, read_on
from nlae.target.model import Target, pad_right
from nlae.target.trunk import read_last


@torch.no_grad()
def next_token_logits(target: Target, rows: Sequence[Sequence[int]]) -> Tensor:
    """Logits of the token after each row, float32 (B, vocabulary), equal to those of reading each row alone.

    Args:
        target: any causal LM.
        rows: token ids, at least one each.
    """
    # every row keeps a token of its own to be read at
    shared = min(common_length(rows), min(len(row) for row in rows) - 1)
    if shared < 1 or len(rows) == 1:
        return target.next_token_logits(rows)
    decoder = target.architecture.decoder(target.model)
    cache = new_cache(decoder.config, target.architecture.embedding(target.model))
    prefix_1P = torch.tensor([list(rows[0][:shared])], device=target.device)
    read_on(decoder, cache, input_ids=prefix_1P)
    cache.batch_repeat_interleave(len(rows))
    ids_BT, mask_BT = pad_right([row[shared:] for row in rows], target.pad_id)
    ids_BT, mask_BT = ids_BT.to(target.device), mask_BT.to(target.device)
    whole_BS = torch.cat([mask_BT.new_ones(len(rows), shared), mask_BT], dim=1)
    out = read_on(
        decoder,
        cache,
        input_ids=ids_BT,
        attention_mask=whole_BS,
        position_ids=(whole_BS.cumsum(-1) - 1)[:, shared:].clamp(min=0),
    )
    return target.logits(read_last(out.last_hidden_state, mask_BT))


def common_length(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with."""
    least, most = min(map(list, rows)), max(map(list, rows))  # what these two share, all in between share
    return next((place for place, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))


def batches(rows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Numbers of the rows of each batch, neighbours in dictionary order, so that much is shared."""
    order = sorted(range(len(rows)), key=lambda row: (list(rows[row]), row))
    for start in range(0, len(order), size):
        yield order[start : start + size]
