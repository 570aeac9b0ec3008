"""What any rollout engine takes and returns.

Scores and rewards are left out: an engine writes, and says how likely it found each token it wrote.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from nlae.model.site_verbalizer import SiteVerbalizer


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """B sampled explanations.

    Attributes:
        token_BT: generated ids; beyond a row's end they hold 0.
        mask_BT: 1.0 where a token was generated, the closing tag included.
        logp_BT: log-probability of each token under the policy that drew it, at the sampling temperature.
        text: the explanation of each row, without tags.
        closed: whether the row ended in the closing tag within the cap; bool (B,).
    """

    token_BT: Tensor
    mask_BT: Tensor
    logp_BT: Tensor
    text: list[str]
    closed: Tensor

    @property
    def length(self) -> Tensor:
        """Generated tokens per row; int64 (B,)."""
        return self.mask_BT.sum(1).long()

    @staticmethod
    def concatenate(parts: Sequence[Rollouts]) -> Rollouts:
        """Rows of all parts, padded to the longest."""
        width = max(part.token_BT.shape[1] for part in parts)

        def stack(name: str) -> Tensor:
            tensors = [getattr(part, name) for part in parts]
            return torch.cat([torch.nn.functional.pad(t, (0, width - t.shape[1])) for t in tensors])

        return Rollouts(
            stack("token_BT"),
            stack("mask_BT"),
            stack("logp_BT"),
            [text for part in parts for text in part.text],
            torch.cat([part.closed for part in parts]),
        )


class RolloutEngine(Protocol):
    """Samples one explanation for every row of activations."""

    def __call__(
        self,
        verbalizer: SiteVerbalizer,
        activation_BD: Tensor,
        seeds: Sequence[int],
        *,
        temperature: float | None = None,
        role: str = "verbalizer",
        inject: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Rollouts:
        """Write.

        Args:
            verbalizer: the policy.
            activation_BD: raw activations; repeat a row to sample it several times.
            seeds: one a row; the same seed, row and weights give the same text in any batch.
            temperature: None takes the engine's; 0 is greedy.
            role: whose weights write.
            inject: False leaves the marker's own embedding in the slot (a control).
            progress: called with the number of rows just finished.
        """
        ...
