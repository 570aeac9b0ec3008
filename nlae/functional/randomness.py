"""Stateless randomness: every draw is a function of what it is for, so a resumed run repeats an uninterrupted one.

Global generators are left out on purpose; nothing in the package may depend on how often they were called.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derive_seed(*keys: int | str) -> int:
    """A 63-bit seed from keys such as (seed, "reinforce", update, row)."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*keys: int | str) -> torch.Generator:
    """A CPU generator for these keys."""
    return torch.Generator().manual_seed(derive_seed(*keys))


def uniforms(seeds: list[int], length: int) -> Tensor:
    """One row of `length` uniform numbers in [0, 1) for each seed; float32 on the CPU, whatever the device."""
    return torch.stack([torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def sample_inverse_cdf(probability_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Index drawn from each row of `probability_BV` by inverting its cumulative sum at `uniform_B`; int64 (B,).

    One number a row decides, so a row's sample does not depend on its neighbours or on the batch size.
    """
    cumulative_BV = probability_BV.double().cumsum(-1)
    point_B1 = uniform_B.to(cumulative_BV).unsqueeze(-1) * cumulative_BV[:, -1:]
    # right=True: a draw of exactly 0 must not pick a leading token of probability 0
    index_B = torch.searchsorted(cumulative_BV, point_B1, right=True).squeeze(-1)
    return index_B.clamp_max(probability_BV.shape[-1] - 1)
