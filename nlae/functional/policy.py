"""Group-relative policy gradient: advantages, the clipped surrogate, and a KL penalty that pulls.

No value network: the rewards of one activation's explanations are compared with one another. The KL estimator is k3;
the plain mean of log π − log π_ref is left out because as a *loss* its expected gradient is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor


def standardised_advantages(reward_GN: Tensor) -> Tensor:
    """Rewards of N explanations of each of G activations, centred and divided by their group's standard deviation.

    Float32, zero mean in every group. A group whose rewards are all equal teaches nothing.

    Raises:
        ValueError: fewer than two samples a group.
    """
    centred_GN = _centred(reward_GN)
    return centred_GN / (reward_GN.float().std(1, keepdim=True, correction=0) + 1e-4)


def leave_one_out_advantages(reward_GN: Tensor) -> Tensor:
    """Each reward minus the mean of the *other* N − 1 of its group: an unbiased baseline that keeps the scale.

    Float32, zero mean in every group.

    Raises:
        ValueError: fewer than two samples a group.
    """
    n = reward_GN.shape[1]
    return _centred(reward_GN) * n / (n - 1)


def _centred(reward_GN: Tensor) -> Tensor:
    if reward_GN.shape[1] < 2:
        raise ValueError("a group needs at least two samples: rewards are compared within it")
    reward_GN = reward_GN.float()
    return reward_GN - reward_GN.mean(1, keepdim=True)


def surrogate(logp_BT: Tensor, old_logp_BT: Tensor, advantage_B: Tensor, clip: float) -> Tensor:
    """Clipped policy-gradient loss per token (PPO's pessimistic minimum), to be minimised; shape (B, T)."""
    ratio_BT = (logp_BT - old_logp_BT).exp()
    advantage_B1 = advantage_B[:, None]
    return -torch.minimum(ratio_BT * advantage_B1, ratio_BT.clamp(1 - clip, 1 + clip) * advantage_B1)


def k3(logp_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Unbiased, non-negative estimate of KL(π ‖ π_ref) per token whose gradient pulls π to the reference; (B, T)."""
    log_ratio_BT = reference_BT - logp_BT
    return log_ratio_BT.exp() - 1 - log_ratio_BT
