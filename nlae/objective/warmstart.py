"""Warm start: both halves learn, side by side, from the teacher's words.

The verbalizer learns to write the teacher's text given the activation, the reconstructor to rebuild the activation
given the text; neither sees the other. Documents may be split between them, so that the reconstructor's first look at
the verbalizer's style is not on texts that both have memorised. Sampling is left out: it begins with `reinforce`.
"""

from __future__ import annotations

from typing import Any

import torch

from nlae.functional.batching import token_batches
from nlae.functional.scaling import unit
from nlae.mixture import Mixture, MixtureBatch
from nlae.objective.base import Objective, magnitude_loss


class WarmStart(Objective):
    """Supervised regression of each half on the teacher's text."""

    name = "warmstart"

    def training_step(self, batch: dict[str, Any], index: int) -> None:
        """One update of both halves on `{"verbalizer": Batch, "reconstructor": Batch}`.

        Of a mixture the verbalizer learns at one site, the reconstructor at many from one pass.
        """
        write, read = batch["verbalizer"], batch["reconstructor"]
        self.site = getattr(write, "site", "")
        # one role's backward before the next role's forward
        metrics = self.imitate(write.activation_BD, write.explanation)
        if isinstance(read, MixtureBatch):
            metrics |= self._regress_many(read)
        else:
            metrics |= self.regress(read.activation_BD, read.explanation)
        self.finish_update({**metrics, **self.step_both()})

    def _regress_many(self, batch: MixtureBatch) -> dict[str, float]:
        """As `regress`, the mean over all sites of the batch, each text read once for all of them."""
        mixture = self.trained
        assert isinstance(mixture, Mixture)
        ids_BT, mask_BT = mixture.reconstructor.encode(batch.explanation)
        length_B = mask_BT.sum(1).tolist()
        total = 0.0
        for rows in token_batches(length_B, self.micro_tokens):
            width = length_B[rows[0]]
            answers = mixture.reconstructor.read(ids_BT[rows, :width], mask_BT[rows, :width], list(batch.activations))
            share = len(rows) / len(length_B) / len(answers)
            loss = torch.zeros((), device=ids_BT.device)
            for name, (predicted_BD, log_norm_B) in answers.items():
                activation_BD = batch.activations[name][rows].to(predicted_BD.device)
                error = (predicted_BD - unit(activation_BD)).pow(2).sum(-1).mean()
                loss = loss + share * (error + magnitude_loss(mixture.at(name), activation_BD, log_norm_B))
                total += share * float(error.detach())
            self.manual_backward(loss)
        return {"reconstructor/error": total}
