"""What tests of rollout engines ask of two results."""

from __future__ import annotations

import torch

from nlae.rollout import Rollouts


def same(one: Rollouts, other: Rollouts, atol: float = 1e-4) -> None:
    """Both say the same; log-probabilities to `atol`."""
    assert one.text == other.text
    assert torch.equal(one.token_BT, other.token_BT)
    assert torch.equal(one.mask_BT, other.mask_BT)
    assert torch.equal(one.closed, other.closed)
    assert torch.allclose(one.logp_BT, other.logp_BT, atol=atol)
