"""What other entries' words, and other contexts of the same token, are drawn by: the nulls of a description."""

from __future__ import annotations

import torch
from torch import Tensor

from nlae.dictionary.population import blocks
from nlae.functional.randomness import generator
from nlae.functional.scaling import unit


def nearest(reading_ED: Tensor, n: int, missing_E: Tensor, signed: bool) -> Tensor:
    """The entry of another neuron whose reading is most alike, int64 (E,)."""
    unit_ED = unit(reading_ED)
    out_E = torch.zeros(len(unit_ED), dtype=torch.long)
    barred_E = missing_E.clone()
    if not signed:
        barred_E[n:] = True
    for part in blocks(len(unit_ED)):
        cosine_eE = unit_ED[part] @ unit_ED.T
        cosine_eE[:, barred_E] = -torch.inf
        place_e = torch.arange(part.start, part.stop)
        for own in (place_e % n, place_e % n + n):
            cosine_eE[torch.arange(len(place_e)), own] = -torch.inf
        out_E[part] = cosine_eE.argmax(-1)
    return out_E


def same_token(row_EK: Tensor, token_M: Tensor, seed: int) -> Tensor:
    """For each context a random one with the same last token, int64 (E, K); −1 stays."""
    order_M = token_M.argsort(stable=True)
    sorted_M = token_M[order_M].contiguous()
    token_EK = token_M[row_EK.clamp_min(0)]
    first_EK, after_EK = (torch.searchsorted(sorted_M, token_EK, right=right) for right in (False, True))
    drawn_EK = torch.rand(row_EK.shape, generator=generator(seed, "same token"), dtype=torch.float64)
    place_EK = first_EK + (drawn_EK * (after_EK - first_EK)).long()
    return torch.where(row_EK >= 0, order_M[place_EK.clamp_max(len(order_M) - 1)], -1)
