"""What a description is measured against: other entries' words, other contexts of the same token, a table of tokens."""

import torch
from torch import Tensor

from nlae.dictionary.score.population import BLOCK, Population
from nlae.functional.randomness import generator
from nlae.functional.scaling import unit


def nearest(reading_ED: Tensor, n: int, missing_E: Tensor, signed: bool) -> Tensor:
    """The entry of another neuron whose reading is most alike, int64 (E,)."""
    unit_ED = unit(reading_ED)
    out_E = torch.zeros(len(unit_ED), dtype=torch.long)
    barred_E = missing_E.clone()
    if not signed:
        barred_E[n:] = True
    for entry_e in torch.arange(len(unit_ED)).split(BLOCK):
        cosine_eE = unit_ED[entry_e] @ unit_ED.T
        cosine_eE[:, barred_E] = -torch.inf
        for own_e in (entry_e % n, entry_e % n + n):
            cosine_eE[torch.arange(len(entry_e)), own_e] = -torch.inf
        out_E[entry_e] = cosine_eE.argmax(-1)
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


class LastToken:
    """Mean training activation at each token, which knows nothing of the context; new tokens get the overall mean.

    `train_M` and `token_M` are the last tokens of training contexts and of those that are asked about, int64.
    """

    def __init__(self, population: Population, train_M: Tensor, token_M: Tensor) -> None:
        self._population = population
        seen_T, kind_M = train_M.unique(return_inverse=True)
        place_M = torch.searchsorted(seen_T, token_M).clamp_max(len(seen_T) - 1)
        self._place_M = torch.where(seen_T[place_M] == token_M, place_M, len(seen_T))  # the last kind: not seen
        train_nM = population.values["train"]
        sum_nT = torch.zeros(len(train_nM), len(seen_T)).index_add_(1, kind_M, train_nM)
        self._mean_nT = torch.cat([sum_nT / torch.bincount(kind_M), train_nM.mean(1, keepdim=True)], 1)

    def __call__(self, places: Tensor, row_eK: Tensor) -> Tensor:
        """What the table says of contexts, float32 (e, K), for entries of both signs."""
        n = self._population.n
        mean_eT = self._mean_nT[places % n] * torch.where(places < n, 1.0, -1.0)[:, None]
        return mean_eT.gather(1, self._place_M[row_eK.clamp_min(0)])
