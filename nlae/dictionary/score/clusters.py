"""In how many groups an entry's strongest contexts fall: one kind of thing, or several.

Contexts are joined where their vectors are more alike than nearly all random pairs of the block are, and groups are
what hangs together. Left out on purpose: a clustering with a chosen number of groups, which always finds that many.
Shape suffixes: E entries, K contexts of an entry, M contexts, D width.
"""

import torch
from torch import Tensor

from nlae.functional.randomness import generator

MAIN_GROUP = 0.5  # an entry is specialised when its only group holds at least this share of its strongest contexts
_PAIRS = 20_000


def pair_threshold(unit_MD: Tensor, quantile: float, seed: int) -> float:
    """The cosine that this share of random pairs of contexts stays below."""
    left_P, right_P = torch.randint(len(unit_MD), (2, _PAIRS), generator=generator(seed, "pairs"))
    differ_P = left_P != right_P
    cosine_P = (unit_MD[left_P[differ_P]] * unit_MD[right_P[differ_P]]).sum(-1)
    return float(torch.quantile(cosine_P, quantile)) if len(cosine_P) else 1.0


def components(unit_EKD: Tensor, keep_EK: Tensor, threshold: float) -> Tensor:
    """Place of the first context that each one hangs together with, int64 (E, K); K where it does not count.

    Those of unit vectors that count (`keep_EK`, as an entry may have fewer) are joined above the cosine `threshold`.
    """
    places_K = torch.arange(unit_EKD.shape[1])
    both_EKK = keep_EK[:, None, :] & keep_EK[:, :, None]
    reach_EKK = ((unit_EKD @ unit_EKD.transpose(1, 2) > threshold) & both_EKK).float()
    reach_EKK[:, places_K, places_K] = keep_EK.float()
    for _ in range(max(1, (len(places_K) - 1).bit_length())):  # each squaring doubles the length of chains
        reach_EKK = (reach_EKK @ reach_EKK > 0).float()
    return torch.where(reach_EKK > 0, places_K, len(places_K)).amin(-1)


def count_groups(first_EK: Tensor) -> tuple[Tensor, Tensor]:
    """Groups of two or more among `components`, int64 (E,), and whether one alone holds most contexts, bool (E,)."""
    size_EK = _sizes(first_EK)
    count_E = (size_EK >= 2).sum(-1)
    share_E = size_EK.amax(-1) / size_EK.sum(-1).clamp_min(1)
    return count_E, (count_E == 1) & (share_E >= MAIN_GROUP)


def group_rows(unit_MD: Tensor, row_EK: Tensor, threshold: float) -> Tensor:
    """Contexts of the two largest groups of two or more, int64 (E, 2, K), −1 elsewhere."""
    first_EK = components(unit_MD[row_EK.clamp_min(0)], row_EK >= 0, threshold)
    size_EK = _sizes(first_EK)
    size_E2, leader_E2 = size_EK.topk(min(2, size_EK.shape[1]), dim=-1)
    member_E2K = (first_EK[:, None] == leader_E2[..., None]) & (size_E2 >= 2)[..., None]
    found_E2K = torch.where(member_E2K, row_EK[:, None], -1)
    return torch.nn.functional.pad(found_E2K, (0, 0, 0, 2 - found_E2K.shape[1]), value=-1)


def _sizes(first_EK: Tensor) -> Tensor:
    """Contexts of the group that begins at each place, float32 (E, K)."""
    entries, kinds = first_EK.shape
    return torch.zeros(entries, kinds + 1).scatter_add_(1, first_EK, torch.ones(first_EK.shape))[:, :kinds]
