"""Stateless randomness: every draw is a function of what it is for, so a resumed run repeats an uninterrupted one.

Global generators are left out on purpose; nothing in the package may depend on how often they were called.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

CDF_BLOCK = 256


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


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token per row and its log-probability at this temperature, which is also that of the greedy choice at 0.

    Args:
        logits_BV: float32.
        uniform_B: in [0, 1); decides each row's token.
        temperature: 0 takes the most likely token.

    Returns:
        Ids, int64 (B,), and log-probabilities, float32 (B,).
    """
    probability_BV = (logits_BV / temperature if temperature not in (0, 1) else logits_BV).softmax(-1)
    token_B = sample_inverse_cdf(probability_BV, uniform_B) if temperature > 0 else logits_BV.argmax(-1)
    return token_B, probability_BV.gather(1, token_B[:, None]).squeeze(1).log()


def sample_inverse_cdf(weight_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Index drawn from each row of `weight_BV` (≥ 0) by inverting its cumulative sum at `uniform_B`; int64 (B,).

    One number a row decides, so a row's sample does not depend on its neighbours or on the batch size. The sum is taken
    in two levels, blocks and then within one block: a sum over a whole vocabulary in float64 would cost more than the
    logits.
    """
    pad = -weight_BV.shape[-1] % CDF_BLOCK
    padded_BW = torch.nn.functional.pad(weight_BV, (0, pad)) if pad else weight_BV  # no padding would copy all of it
    blocked_BNK = padded_BW.unflatten(-1, (-1, CDF_BLOCK))
    cumulative_BN = blocked_BNK.sum(-1).double().cumsum(-1)
    point_B1 = uniform_B.to(cumulative_BN).unsqueeze(-1) * cumulative_BN[:, -1:]
    # right=True: a draw of exactly 0 must not pick leading entries of weight 0
    block_B1 = torch.searchsorted(cumulative_BN, point_B1, right=True).clamp_max_(cumulative_BN.shape[-1] - 1)
    inside_BK = blocked_BNK.gather(1, block_B1[..., None].expand(-1, -1, CDF_BLOCK)).squeeze(1).double()
    before_B1 = torch.where(block_B1 > 0, cumulative_BN.gather(1, (block_B1 - 1).clamp_min(0)), 0.0)
    index_B1 = torch.searchsorted(before_B1 + inside_BK.cumsum(-1), point_B1, right=True)
    # the two levels round apart in the last bits: never step past the block's last entry that has weight
    last_B1 = CDF_BLOCK - 1 - (inside_BK.flip(-1) > 0).to(torch.int64).argmax(-1, keepdim=True)
    return (block_B1 * CDF_BLOCK + torch.minimum(index_B1, last_B1)).squeeze(-1)
