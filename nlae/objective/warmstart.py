"""Warm start: both halves learn, side by side, from the teacher's words.

The verbalizer learns to write the teacher's text given the activation, the reconstructor to rebuild the activation
given the text; neither sees the other. Documents may be split between them, so that the reconstructor's first look at
the verbalizer's style is not on texts that both have memorised. Sampling is left out: it begins with `reinforce`.
"""

from __future__ import annotations

from typing import Any

from nlae.objective.base import Objective


class WarmStart(Objective):
    """Supervised regression of each half on the teacher's text."""

    name = "warmstart"

    def training_step(self, batch: dict[str, Any], index: int) -> None:
        """One update of both halves on `{"verbalizer": Batch, "reconstructor": Batch}`."""
        write, read = batch["verbalizer"], batch["reconstructor"]
        # one role's backward before the next role's forward
        metrics = self.imitate(write.activation_BD, write.explanation)
        metrics |= self.regress(read.activation_BD, read.explanation)
        self.finish_update({**metrics, **self.step_both()})
