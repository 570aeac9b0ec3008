"""In how many groups an entry's strongest contexts fall: one kind of thing, or several.

Contexts are joined where their vectors are more alike than nearly all random pairs of the layer are, and groups are
what hangs together. Left out on purpose: a clustering with a chosen number of groups, which always finds that many.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cosine_threshold(unit_MD: Tensor, quantile: float, generator: torch.Generator, pairs: int = 20_000) -> float:
    """The cosine that this share of random pairs of contexts stays below."""
    left_P, right_P = torch.randint(len(unit_MD), (2, pairs), generator=generator)
    differ_P = left_P != right_P
    cosine_P = (unit_MD[left_P[differ_P]] * unit_MD[right_P[differ_P]]).sum(-1)
    return float(torch.quantile(cosine_P, quantile))


def count_clusters(unit_EKD: Tensor, keep_EK: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Groups of two or more among each entry's contexts, and the share of contexts in the largest.

    Args:
        unit_EKD: centred unit vectors of K contexts.
        keep_EK: contexts that count (an entry may have fewer than K).
        threshold: contexts with a cosine above it are joined.

    Returns:
        Number of groups, int64 (E,), and the share of the largest, float32 (E,); 0 and 0 without contexts.
    """
    linked_EKK = (unit_EKD @ unit_EKD.transpose(1, 2) > threshold) & keep_EK[:, None, :] & keep_EK[:, :, None]
    places_K = torch.arange(unit_EKD.shape[1])
    linked_EKK = linked_EKK | (torch.eye(len(places_K), dtype=torch.bool) & keep_EK[:, :, None])
    reach_EKK = linked_EKK.float()
    for _ in range(max(1, (len(places_K) - 1).bit_length())):  # each squaring doubles the length of chains
        reach_EKK = (reach_EKK @ reach_EKK > 0).float()
    size_EK = reach_EKK.sum(-1)
    first_EK = torch.where(reach_EKK > 0, places_K, len(places_K)).amin(-1)
    leader_EK = keep_EK & (first_EK == places_K)
    count_E = (leader_EK & (size_EK >= 2)).sum(-1)
    kept_E = keep_EK.sum(-1)
    share_E = torch.where(keep_EK, size_EK, 0.0).amax(-1) / kept_E.clamp_min(1)
    return count_E, share_E
