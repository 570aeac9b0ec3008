"""Steering with directions. No torch is imported before it is done: arguments are checked before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from nlae.target import Target


@dataclass(frozen=True)
class Steering:
    """Steers with directions as loudly as it takes to move the next token by a divergence.

    Attributes:
        kl: divergence in nats that every direction is brought to, mean over contexts, steered against unsteered.
        random: number of random directions.
        rows: contexts × directions read at a time.
        seed: of the random directions; a dictionary puts its own here.
    """

    kl: float = 0.5
    random: int = 16
    rows: int = 256
    seed: int = 0

    def output_scores(
        self,
        target: Target,
        layer: int,
        neurons: Sequence[int],
        signs: Sequence[int],
        promoted_nK: Tensor,
        context_BT: Tensor,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Output scores of neurons of one layer and their null; see `pushing`.

        Args:
            target: the model.
            layer: block.
            neurons: entries of the down-projection's input.
            signs: +1 or −1 for each: which side of it pushes.
            promoted_nK: tokens that each of them is said to promote.
            context_BT: token ids.
            progress: called with the number of directions just finished.
        """
        from nlae.dictionary.judge.pushing import output_scores

        return output_scores(target, layer, neurons, signs, promoted_nK, context_BT, self, progress)
