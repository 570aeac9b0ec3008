"""Warm start: both halves learn, side by side, from the teacher's words.

The verbalizer learns to write the teacher's text given the activation, the reconstructor to rebuild the activation
given the text; neither sees the other. Documents may be split between them, so that the reconstructor's first look at
the verbalizer's style is not on texts that both have memorised. Sampling is left out: it begins with `reinforce`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlae.autoencoder import Autoencoder
from nlae.functional.policy import masked_mean
from nlae.functional.scaling import unit
from nlae.objective.base import Objective

MAGNITUDE_WEIGHT = 0.1


class WarmStart(Objective):
    """Supervised regression of each half on the teacher's text."""

    name = "warmstart"

    def training_step(self, batch: dict[str, Any], index: int) -> None:
        """One update of both halves on `{"verbalizer": Batch, "reconstructor": Batch}`."""
        pair = self.autoencoder
        write = batch["verbalizer"]
        nll = verbalizer_loss(pair, write.activation_BD, write.explanation)
        # one role's backward before the next role's forward
        self.manual_backward(nll)
        read = batch["reconstructor"]
        error, magnitude = reconstructor_loss(pair, read.activation_BD, read.explanation)
        self.manual_backward(error + magnitude)
        metrics = {"verbalizer/nll": float(nll.detach()), "reconstructor/error": float(error.detach())}
        self.finish_update({**metrics, **self.step_both()})


def verbalizer_loss(pair: Autoencoder, activation_BD: Tensor, explanation: list[str]) -> Tensor:
    """Mean negative log-likelihood per token of the teacher's text, closing tag included, in nats."""
    token_BT, mask_BT = pair.verbalizer.encode_responses(explanation)
    return masked_mean(-pair.verbalizer.logprobs(activation_BD, token_BT), mask_BT)


def reconstructor_loss(pair: Autoencoder, activation_BD: Tensor, explanation: list[str]) -> tuple[Tensor, Tensor]:
    """Mean ‖ĥ − ĥ'‖², and the weighted squared error of the log-norm (0 without a magnitude head)."""
    predicted_BD, log_norm_B = pair.reconstructor(explanation)
    activation_BD = activation_BD.to(predicted_BD.device)
    error = (predicted_BD - unit(activation_BD)).pow(2).sum(-1).mean()
    return error, magnitude_loss(pair, activation_BD, log_norm_B)


def magnitude_loss(pair: Autoencoder, activation_BD: Tensor, log_norm_B: Tensor | None) -> Tensor:
    """Squared error of log ‖h‖ relative to the site's median norm, weighted."""
    if log_norm_B is None:
        return torch.zeros((), device=activation_BD.device)
    truth_B = (activation_BD.float().norm(dim=-1) / pair.statistics.norm_median).log()
    return MAGNITUDE_WEIGHT * (log_norm_B - truth_B).pow(2).mean()
