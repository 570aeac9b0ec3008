"""The contract of policy losses.

An update asks twice. First `weights`, once, with the rewards of whole groups: there a loss compares explanations of one
activation with one another. Then the loss itself, for every micro-batch, on which rows of one group need not be
together: what it must know of the others lies in the weight of each row. The KL penalty is added by `Reinforce`.
A loss of your own is a class in your package: `objective.policy_loss._target_=package.Mine` (and
`~objective.policy_loss.clip` where it takes no `clip`).
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from torch import Tensor

from nlae.training.reward import Record


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Explanations of one micro-batch, on the training device.

    Attributes:
        logp_BT: log-probabilities under the policy as it is, with gradient; 0 at padding.
        old_logp_BT: the same under the policy that drew them.
        mask_BT: 1.0 at real tokens.
        weight_B: what `weights` gave these rows, float32.
        reference_BT: log-probabilities under the warm-started policy; None where neither the KL penalty nor the loss
            needs them.
    """

    logp_BT: Tensor
    old_logp_BT: Tensor
    mask_BT: Tensor
    weight_B: Tensor
    reference_BT: Tensor | None


class PolicyLoss(Protocol):
    """How rewards move the policy.

    A class may set `needs_reference = True`: the warm-started policy's log-probabilities are then there whatever the KL
    penalty.
    """

    def weights(self, reward_GN: Tensor, record: Record) -> Tensor:
        """A weight for each sample, float32 (G, N).

        Args:
            reward_GN: rewards of the N explanations of each of G activations.
            record: all that is known of them, in the same order: row g·N + n.
        """
        ...

    def __call__(self, sampled: Sampled) -> Tensor:
        """The loss, to be minimised: (B, T) per token or (B,) per explanation, which says what it is a mean over.

        All tokens, or all explanations, of the update: the size of a micro-batch changes nothing.
        """
        ...
