"""What the reconstructor reads of a rollout in training, where that is not the text as it was written.

A verbalizer that is only ever read word for word may say things by their order, by quotes, or at the very end. If the
reconstructor is trained on, and the reward computed from, the words in random order, without their quotes, or cut at a
random length, then what lives there earns nothing. All samples of one activation are reworded by one draw, so that
within a group none is luckier than another: cut at one length, they are paid for what they say first. Validation and
evaluation always read the whole text. Rewordings that keep the meaning (synonyms, paraphrase) are refused: what
survives them is the headline, and a headline that was paid for says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nlae.errors import NlaeError
from nlae.functional.randomness import derive_seed
from nlae.rewording import PerText


class Reading:
    """Rewords the rollouts of a share of the activations.

    Args:
        rewording: of one text at a time.
        share: of the activations whose rollouts are reworded; the others are read whole.

    Raises:
        NlaeError: a rewording that is a headline, or that needs to see other texts.
    """

    def __init__(self, rewording: PerText, share: float = 1.0) -> None:
        given: object = rewording  # from a config anything can come
        name = type(given).__name__
        if getattr(given, "headline", False):
            raise NlaeError(
                f"objective.reading: {name} keeps the meaning, so what survives it is a headline, on which no reward "
                "is computed; take a rewording such as nlae.rewording.RandomTruncation"
            )
        if not isinstance(given, PerText):
            raise NlaeError(
                f"objective.reading: {name} does not reword one text at a time; take one that extends "
                "nlae.rewording.PerText"
            )
        if not 0 < share <= 1:
            raise NlaeError(
                f"objective.reading.share={share} must be above 0 and at most 1; null reads every text whole"
            )
        self.rewording, self.share = rewording, share

    def __call__(self, texts: Sequence[str], rows: Sequence[int], *, seed: int, update: int) -> list[str]:
        """What is read of each text; a function of (seed, update, row) and the text.

        Args:
            texts: the rollouts.
            rows: the activation's row of each, the same for all samples of a group.
            seed: of the run.
            update: number of the update.
        """
        return [
            self._read(text, derive_seed(seed, "reading", update, row)) for text, row in zip(texts, rows, strict=True)
        ]

    def _read(self, text: str, seed: int) -> str:
        reworded = np.random.default_rng(derive_seed(seed, "share")).random() < self.share
        return self.rewording.one(text, seed) if reworded and self.rewording.applies(text) else text
