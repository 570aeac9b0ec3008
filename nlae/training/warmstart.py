"""Warm start: both halves learn, side by side, from the teacher's words.

The verbalizer learns to write the teacher's text given the activation, the reconstructor to rebuild the activation
given the text; neither sees the other. Documents may be split between them, so that the reconstructor's first look at
the verbalizer's style is not on texts that both have memorised. Sampling is left out: it begins with `reinforce`.
"""

from __future__ import annotations

import torch

from nlae.activations.datamodule import Batch
from nlae.functional.scaling import unit
from nlae.functional.transfers import Figures
from nlae.training.base import Objective, magnitude_loss
from nlae.training.micro import readings


class WarmStart(Objective):
    """Supervised regression of each half on the teacher's text."""

    name = "warmstart"

    def training_step(self, batch: dict[str, Batch], index: int) -> None:
        """One update of both halves on `{"verbalizer": Batch, "reconstructor": Batch}`.

        Of several sites the verbalizer learns at one, the reconstructor at many from one pass.
        """
        write, read = batch["verbalizer"], batch["reconstructor"]
        self.site = write.site
        assert write.explanation is not None
        # one role's backward before the next role's forward
        written = self.imitate(write.activation_BD, write.explanation)
        self.finish_update(self.step_both({**written, **self.regress_all(read)}))

    def regress_all(self, batch: Batch) -> Figures:
        """As `regress`, the mean over all sites of the batch, each text read once for all of them."""
        texts = batch.explanation
        assert texts is not None
        trained, device = self.trained, self.trained.target.device
        true_BD = {name: activation_BD.to(device) for name, activation_BD in batch.activations.items()}
        total = torch.zeros((), dtype=torch.float64, device=device)
        for rows, ids_BT, mask_BT in readings(trained.reconstructor, texts, self.micro_tokens):
            answers = trained.reconstructor.read(ids_BT, mask_BT, list(true_BD))
            share = len(rows) / len(texts) / len(answers)
            loss = torch.zeros((), device=device)
            for name, (predicted_BD, log_norm_B) in answers.items():
                activation_BD = true_BD[name][rows]
                error = (predicted_BD - unit(activation_BD)).pow(2).sum(-1).mean()
                loss = loss + share * (error + magnitude_loss(trained.at(name), activation_BD, log_norm_B))
                total += share * error.detach().double()
            self.manual_backward(loss)
        return {"reconstructor/error": total}
