"""How the target itself would go on from each context: the likeliest next tokens, one after the other.

An explanation may copy what is yet to come as well as what was; without this the second would pass for description.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nlae.evaluation.quotes import bare_target
from nlae.target.cache import new_cache, read_on
from nlae.terminal.progress import track


@torch.no_grad()
def continuations(autoencoder: Any, contexts: Sequence[Sequence[int]], length: int, batch_size: int) -> list[list[int]]:
    """`length` greedy tokens after each context, by the bare target.

    Args:
        autoencoder: whose target it is.
        contexts: token ids. Those of one length share a batch, so that nothing is padded.
        length: tokens written.
        batch_size: contexts together.
    """
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(contexts):
        by_length.setdefault(len(ids), []).append(place)
    batches = [
        places[start : start + batch_size]
        for _, places in sorted(by_length.items())
        for start in range(0, len(places), batch_size)
    ]
    written: dict[int, list[int]] = {}
    for places in track(batches, description="the target's own continuation"):
        ids_BT = torch.tensor([list(contexts[place]) for place in places])
        written.update(zip(places, _greedy(autoencoder, ids_BT, length).tolist(), strict=True))
    return [written[place] for place in range(len(contexts))]


def _greedy(autoencoder: Any, ids_BT: Tensor, length: int) -> Tensor:
    target = autoencoder.target
    decoder = target.architecture.decoder(target.model)
    cache = new_cache(target.model.config, target.architecture.embedding(target.model))
    new_BT, parts = ids_BT.to(target.device), []
    with bare_target(autoencoder):
        for _ in range(length):
            hidden_BTD = read_on(decoder, cache, input_ids=new_BT).last_hidden_state
            new_BT = target.logits(hidden_BTD[:, -1]).argmax(-1, keepdim=True)
            parts.append(new_BT.cpu())
    return torch.cat(parts, dim=1)
