"""How likely many continuations of many texts are; a text is read once, however many continuations it has.

Several descriptions are weighed after each text, so that reading texts and descriptions apart costs a fraction of
reading every pair. Left out: padded texts, which windowed attention would count wrongly; texts of different lengths
never share a batch, continuations of different lengths do.

Shape suffixes: B rows, T tokens of the text, S tokens of the continuation, K picked places, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from nlae.target.cache import Reread, fork, new_cache, read_on
from nlae.target.model import Target, pad_right

Ids = tuple[int, ...]
_AT_ONCE = 256  # places whose whole vocabulary is held at a time


@torch.no_grad()
def log_likelihood(
    target: Target,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> list[float]:
    """Log-probability of each continuation after its text, nats, as if each pair were read alone.

    Args:
        target: any causal LM.
        pairs: token ids of text and continuation, at least one each.
        batch_size: texts, and then continuations, read at a time.
        progress: called with the number of pairs just finished.
    """
    found = [0.0] * len(pairs)
    by_text: dict[Ids, list[int]] = {}
    for row, (text, _) in enumerate(pairs):
        by_text.setdefault(tuple(text), []).append(row)
    decoder = target.architecture.decoder(target.model)
    for texts in _alike(by_text, batch_size):
        cache = new_cache(decoder.config, target.architecture.embedding(target.model))
        out = read_on(decoder, cache, input_ids=torch.tensor(texts, device=target.device))
        first_BV = target.logits(out.last_hidden_state[:, -1]).log_softmax(-1).cpu()
        place = {row: number for number, text in enumerate(texts) for row in by_text[text]}
        # like lengths together: what is padded is read in vain
        rows = sorted(place, key=lambda row: (len(pairs[row][1]), row))
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            said = [list(pairs[row][1]) for row in batch]
            which_B = torch.tensor([place[row] for row in batch])
            total_B = first_BV[which_B, torch.tensor([ids[0] for ids in said])].double()
            if len(said[-1]) > 1:
                total_B += _rest(target, _picked(cache, which_B.to(target.device)), len(texts[0]), said)
            for row, value in zip(batch, total_B.tolist(), strict=True):
                found[row] = value
            if progress is not None:
                progress(len(batch))
    return found


def _alike(texts: Iterable[Ids], size: int) -> Iterator[list[Ids]]:
    """Texts of equal length, at most so many at a time."""
    by_length: dict[int, list[Ids]] = {}
    for text in texts:
        by_length.setdefault(len(text), []).append(text)
    for _, same in sorted(by_length.items()):
        for start in range(0, len(same), size):
            yield same[start : start + size]


def _picked(cache: DynamicCache | Reread, which_B: Tensor) -> DynamicCache | Reread:
    """Rows of a cache, which itself stays as it is."""
    picked = fork(cache)
    picked.batch_select_indices(which_B)
    return picked


def _rest(target: Target, cache: DynamicCache | Reread, length: int, said: Sequence[list[int]]) -> Tensor:
    """Log-probability of all tokens of the continuations but their first, float64 (B,)."""
    read_BS, mask_BS = pad_right([ids[:-1] for ids in said], target.pad_id)
    asked_BS, _ = pad_right([ids[1:] for ids in said], target.pad_id)
    position_BS = torch.arange(length, length + read_BS.shape[1]).expand_as(read_BS)
    seen_BX = torch.cat([mask_BS.new_ones(len(said), length), mask_BS], dim=1)
    out = read_on(
        target.architecture.decoder(target.model),
        cache,
        input_ids=read_BS.to(target.device),
        attention_mask=seen_BX.to(target.device),
        position_ids=position_BS.to(target.device),
    )
    row_K, step_K = torch.nonzero(mask_BS, as_tuple=True)
    hidden_KD = out.last_hidden_state[row_K.to(target.device), step_K.to(target.device)]
    asked_K = asked_BS[row_K, step_K].to(target.device)
    total_B = torch.zeros(len(said), dtype=torch.float64)
    for start in range(0, len(row_K), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        logits_KV = target.logits(hidden_KD[part])
        logp_K = logits_KV.gather(1, asked_K[part, None]).squeeze(1) - logits_KV.logsumexp(-1)
        total_B.index_add_(0, row_K[part], logp_K.double().cpu())
    return total_B
