"""The contract of a reward's terms: what each is given, and what it returns.

A term of your own is a class in your package and one line of config: `+reward.terms.mine._target_=package.Mine`.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Record:
    """B explanations and all that is known of them; nothing carries a gradient.

    Tensors lie on the training device, but for `closed_B`, which may lie on the host.

    Attributes:
        text: the explanations as they were written, without tags.
        activation_BD: raw activations that were explained.
        reconstruction_BD: unit vectors read from the text (as `objective.reading` rewords it); μ/‖μ‖ for an empty one.
        error_B: ‖ĥ − ĥ'‖² of the round trip, from 0 to 4.
        length_B: generated tokens, closing tag included.
        closed_B: whether the closing tag was written.
        context_ids: tokens up to and including the explained position, in the target's tokenizer: the last 64 of them,
            which is what the store keeps.
        row: row number of the corpus, for each explanation.
        group_B: which of the update's activations each is about, 0, 0, …, 1, 1, …; int64, on the host.
        seeds: of the sampling noise of each explanation.
        token_BT: generated ids; 0 beyond a row's end.
        logp_BT: their log-probabilities under the policy that drew them, in nats.
        mask_BT: 1.0 where a token was generated.
        site: name of the site that is explained.
    """

    text: list[str]
    activation_BD: Tensor
    reconstruction_BD: Tensor
    error_B: Tensor
    length_B: Tensor
    closed_B: Tensor
    context_ids: list[list[int]]
    row: list[int]
    group_B: Tensor
    seeds: list[int]
    token_BT: Tensor
    logp_BT: Tensor
    mask_BT: Tensor
    site: str


class RewardTerm(Protocol):
    """One summand."""

    def __call__(self, record: Record) -> Tensor:
        """Reward per explanation; float32 (B,), finite."""
        ...
