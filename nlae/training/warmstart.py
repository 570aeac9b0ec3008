"""Warm start: both halves learn, side by side, from the teacher's words.

The verbalizer learns to write the teacher's text given the activation, the reconstructor to rebuild the activation
given the text; neither sees the other. Documents may be split between them, so that the reconstructor's first look at
the verbalizer's style is not on texts that both have memorised. Sampling is left out: it begins with `reinforce`.
"""

from __future__ import annotations

from typing import Any

import torch

from nlae.activations.mixture import MixtureBatch
from nlae.functional.scaling import unit
from nlae.functional.transfers import Figures
from nlae.model.mixture import Mixture
from nlae.training.base import Objective, magnitude_loss
from nlae.training.micro import readings


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
        written = self.imitate(write.activation_BD, write.explanation)
        if isinstance(read, MixtureBatch):
            rebuilt = self._regress_many(read)
        else:
            rebuilt = self.regress(read.activation_BD, read.explanation)
        self.finish_update(self.step_both({**written, **rebuilt}))

    def _regress_many(self, batch: MixtureBatch) -> Figures:
        """As `regress`, the mean over all sites of the batch, each text read once for all of them."""
        mixture = self.trained
        assert isinstance(mixture, Mixture)
        device, names = mixture.target.device, list(batch.activations)
        true_BD = {name: activation_BD.to(device) for name, activation_BD in batch.activations.items()}
        total = torch.zeros((), dtype=torch.float64, device=device)
        for rows, ids_BT, mask_BT in readings(mixture.reconstructor, batch.explanation, self.micro_tokens):
            answers = mixture.reconstructor.read(ids_BT, mask_BT, names)
            share = len(rows) / len(batch.explanation) / len(answers)
            loss = torch.zeros((), device=device)
            for name, (predicted_BD, log_norm_B) in answers.items():
                activation_BD = true_BD[name][rows]
                error = (predicted_BD - unit(activation_BD)).pow(2).sum(-1).mean()
                loss = loss + share * (error + magnitude_loss(mixture.at(name), activation_BD, log_norm_B))
                total += share * error.detach().double()
            self.manual_backward(loss)
        return {"reconstructor/error": total}
