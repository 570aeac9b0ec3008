"""What both objectives share: optimizers, the schedule, guarded steps, validation, what a checkpoint holds.

Steps are manual in both, because two roles with two clips and two optimizers are what is trained. Everything random is
derived from (seed, objective, update, row).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from nlae.functional.reconstruction import fve, spread, squared_error
from nlae.functional.scaling import unit
from nlae.functional.transfers import Figures, read, send
from nlae.model.autoencoder import Autoencoder
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.training.micro import predictions, responses
from nlae.training.optimizer import ADAMW, optimizer_of

MICRO_TOKENS = 4096
MAGNITUDE_WEIGHT = 0.1


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Learning rates and the like.

    Attributes:
        updates: in all.
        verbalizer_lr: peak.
        reconstructor_lr: peak.
        warmup: updates of linear rise.
        decay: share of the peak that is left at the last update (linear fall).
        clip_norm: largest gradient norm, per role.
        weight_decay: of AdamW.
    """

    updates: int
    verbalizer_lr: float = 5e-4
    reconstructor_lr: float = 5e-4
    warmup: int = 10
    decay: float = 0.1
    clip_norm: float = 1.0
    weight_decay: float = 0.0

    @classmethod
    def of(cls, settings: Any, **rates: float) -> Schedule:
        """What a fit's settings say of it, and `rates` where they have no rate for each role."""
        given: dict[str, Any] = {
            field.name: rates.get(field.name) or getattr(settings, field.name) for field in dataclasses.fields(cls)
        }
        return cls(**given)

    def factor(self, update: int) -> float:
        """Share of the peak at 0-based `update`: a function of the update alone, so that a resume needs no state."""
        rise = min(1.0, (update + 1) / max(1, self.warmup))
        fall = 1 - (1 - self.decay) * update / max(1, self.updates)
        return rise * fall


@dataclasses.dataclass(frozen=True)
class ValidationSet:
    """Held-out rows that curves are drawn on; never the test split.

    Attributes:
        activation_ND: raw activations.
        explanation: the teacher's text, or None where there is none.
        other_N: for each row, the index of a row of another document (the shuffled pairing).
        row_N: row numbers, which seed the samples.
    """

    activation_ND: Tensor
    explanation: list[str] | None
    other_N: Tensor
    row_N: list[int]


class Objective(pl.LightningModule):
    """Base of both objectives.

    Args:
        build: makes the autoencoder when weights may be loaded (`configure_model`).
        schedule: learning rates.
        validation: held-out rows by the name of their site, or None.
        validate_every: updates between two validations.
        seed: of everything drawn while training.
        micro_tokens: most tokens of one backward, padding counted: memory and speed, not the update.
        checkpointing: run blocks again in the backward instead of keeping what they computed.
        optimizer: makes the optimizer of one role from its parameters, `lr` and `weight_decay`.
    """

    name = "objective"

    def __init__(
        self,
        build: Callable[[], Autoencoder],
        *,
        schedule: Schedule,
        validation: Mapping[str, ValidationSet] | None = None,
        validate_every: int = 50,
        seed: int = 0,
        micro_tokens: int = MICRO_TOKENS,
        checkpointing: bool = False,
        optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._build, self.schedule, self.validation = build, schedule, validation
        self.validate_every, self.seed, self.micro_tokens = validate_every, seed, micro_tokens
        self.checkpointing, self.optimizer = checkpointing, optimizer
        self.update = 0
        self.skipped = 0
        self.metrics: dict[str, float] = {}
        self.pair: Autoencoder | None = None
        self.last = schedule.updates
        self.site: str | None = None
        self.verbalizer: nn.Module | None = None
        self.reconstructor: nn.Module | None = None

    @property
    def trained(self) -> Autoencoder:
        """All that is being trained.

        Raises:
            RuntimeError: before `configure_model`.
        """
        if self.pair is None:
            raise RuntimeError("weights are not loaded yet: call configure_model() first")
        return self.pair

    @property
    def autoencoder(self) -> SiteAutoencoder:
        """What is being trained, at this update's `site`."""
        return self.trained.at(self.site)

    def configure_model(self) -> None:
        """Load weights, once."""
        if self.pair is None:
            self.pair = self._build()
            self.verbalizer, self.reconstructor = self.pair.verbalizer, self.pair.reconstructor
            # from_pretrained leaves eval mode and fit does not flip children
            self.pair.backbone.train()
            if self.checkpointing:
                self.pair.backbone.recompute()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One for the verbalizer, one for the reconstructor."""
        pair, schedule, make = self.trained, self.schedule, self.optimizer
        return [
            optimizer_of(make, pair.verbalizer.trainable(), schedule.verbalizer_lr, schedule.weight_decay),
            optimizer_of(make, pair.reconstructor.trainable(), schedule.reconstructor_lr, schedule.weight_decay),
        ]

    def on_train_start(self) -> None:
        """The first point of the held-out curves, unless this is a resume."""
        assert self.trained.target.model.training
        self.last = int(self.trainer.num_training_batches)
        if self.validation is not None and self.update == 0:
            self.metrics = self.validate()

    def imitate(self, activation_BD: Tensor, explanation: list[str]) -> Figures:
        """Gradient of the mean negative log-likelihood per token of given texts, closing tags included, in nats."""
        verbalizer = self.autoencoder.verbalizer
        token_BT, mask_BT = verbalizer.render_responses(explanation)
        (token_BT,), tokens = send(verbalizer.backbone.target.device, token_BT), mask_BT.sum()
        # in double precision on the device, as the host would add them up
        nll = torch.zeros((), dtype=torch.float64, device=token_BT.device)
        for part in responses(verbalizer, activation_BD, token_BT, mask_BT, self.micro_tokens):
            loss = -part.logp_BT.sum() / tokens
            self.manual_backward(loss)
            nll += loss.detach()
        return {"verbalizer/nll": nll}

    def regress(self, activation_BD: Tensor, explanation: list[str]) -> Figures:
        """Gradient of the mean ‖ĥ − ĥ'‖², and of the log-norm's squared error where it is predicted."""
        return {"reconstructor/error": self.errors(activation_BD, explanation)[0].mean()}

    def errors(self, activation_BD: Tensor, explanation: list[str]) -> tuple[Tensor, Tensor]:
        """As `regress`, returning of every row ‖ĥ − ĥ'‖² (B,) and ĥ' (B, D); float32, detached."""
        pair = self.autoencoder
        activation_BD = activation_BD.to(pair.target.device)
        error_B = torch.empty(len(explanation), device=activation_BD.device)
        reading_BD = torch.empty(activation_BD.shape, device=activation_BD.device)
        for rows, predicted_BD, log_norm_B in predictions(pair.reconstructor, explanation, self.micro_tokens):
            given_BD = activation_BD[rows]
            part_B = (predicted_BD - unit(given_BD)).pow(2).sum(-1)
            share = len(rows) / len(explanation)
            self.manual_backward(share * (part_B.mean() + magnitude_loss(pair, given_BD, log_norm_B)))
            error_B[rows], reading_BD[rows] = part_B.detach(), predicted_BD.detach().float()
        return error_B, reading_BD

    def finish_update(self, metrics: dict[str, float]) -> None:
        """Count the update, validate when it is time, publish the metrics."""
        self.update += 1
        metrics["skipped"] = float(self.skipped)
        last = self.update == self.last
        if self.validation is not None and (last or self.update % self.validate_every == 0):
            metrics |= self.validate()
        self.metrics = metrics

    def clipped(self, parameters: list[nn.Parameter]) -> Tensor:
        """Clip the gradients of one role. Returns their norm before, a tensor of one number where they lie."""
        return torch.nn.utils.clip_grad_norm_(parameters, self.schedule.clip_norm)

    def guarded_step(self, optimizer: Any, norm: float, peak: float) -> None:
        """Step on clipped gradients; those whose norm is not finite are counted and thrown away, never stepped on."""
        if math.isfinite(norm):
            for group in optimizer.param_groups:
                group["lr"] = peak * self.schedule.factor(self.update)
            optimizer.step()
        else:
            self.skipped += 1
        optimizer.zero_grad(set_to_none=True)

    def step_both(self, figures: Figures) -> dict[str, float]:
        """One guarded step of each role, on gradients that are already there.

        Args:
            figures: what the update has measured so far; read together with both norms, the only wait of an update.
        """
        optimizers: Any = self.optimizers()
        for_verbalizer, for_reconstructor = optimizers
        pair, schedule = self.trained, self.schedule
        norms = {
            "verbalizer/grad_norm": self.clipped(pair.verbalizer.trainable()),
            "reconstructor/grad_norm": self.clipped(pair.reconstructor.trainable()),
        }
        metrics = read({**figures, **norms})
        self.guarded_step(for_verbalizer, metrics["verbalizer/grad_norm"], schedule.verbalizer_lr)
        self.guarded_step(for_reconstructor, metrics["reconstructor/grad_norm"], schedule.reconstructor_lr)
        return {**metrics, "lr_factor": schedule.factor(self.update)}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out curves: the round trip at temperature 1, its shuffled pairing, both halves on the teacher's text.

        Of several sites the means over those that are held out, and `val/fve/<site>`.
        """
        assert self.validation is not None
        return mean_over_sites(
            {site: self._validate(self.trained.at(site), held) for site, held in self.validation.items()}, "val/fve"
        )

    def _validate(self, pair: SiteAutoencoder, held: ValidationSet) -> dict[str, float]:
        true_ND = unit(held.activation_ND)
        spread_N = spread(true_ND, pair.statistics.mean_D)
        seeds = pair.row_seeds(self.seed, "validate", held.row_N)
        written = pair.verbalize(held.activation_ND, seeds=seeds)
        rebuilt_ND = pair.reconstruct([e.text for e in written])
        metrics = {
            "val/fve": fve(squared_error(rebuilt_ND, true_ND), spread_N),
            "val/fve_shuffled": fve(squared_error(rebuilt_ND[held.other_N], true_ND), spread_N),
            "val/closed_rate": sum(e.closed for e in written) / len(written),
            "val/tokens": sum(e.n_tokens for e in written) / len(written),
        }
        if held.explanation is not None:
            metrics["val/fve_teacher"] = fve(squared_error(pair.reconstruct(held.explanation), true_ND), spread_N)
            nll = pair.nll(held.activation_ND, held.explanation)
            shuffled = pair.nll(held.activation_ND[held.other_N], held.explanation)
            metrics |= {"val/nll": nll, "val/nll_gap": shuffled - nll}
        return {key: float(value) for key, value in metrics.items()}

    # what Lightning's checkpoint holds of the module: the weights that are trained, and the two counts

    strict_loading = False

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained alone: the base follows from its source."""
        checkpoint["state_dict"] = self.trained.trained_state()
        checkpoint["counts"] = {"update": self.update, "skipped": self.skipped}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from what was kept."""
        self.trained.load_trained_state(checkpoint["state_dict"])
        checkpoint["state_dict"] = {}  # its names are the pair's, not this module's
        self.update, self.skipped = checkpoint["counts"]["update"], checkpoint["counts"]["skipped"]


def magnitude_loss(pair: SiteAutoencoder, activation_BD: Tensor, log_norm_B: Tensor | None) -> Tensor:
    """Squared error of log ‖h‖ relative to the site's median norm, weighted; 0 without a magnitude head."""
    if log_norm_B is None:
        return torch.zeros((), device=activation_BD.device)
    truth_B = (activation_BD.float().norm(dim=-1) / pair.statistics.norm_median).log()
    return MAGNITUDE_WEIGHT * (log_norm_B - truth_B).pow(2).mean()


def mean_over_sites(by_site: Mapping[str, Mapping[str, float]], headline: str) -> dict[str, float]:
    """Each figure's mean over the sites that have it, and of several sites `headline` itself for each."""
    keys = dict.fromkeys(key for figures in by_site.values() for key in figures)
    found = {key: float(np.mean([figures[key] for figures in by_site.values() if key in figures])) for key in keys}
    each = by_site if len(by_site) > 1 else {}
    return found | {f"{headline}/{site}": figures[headline] for site, figures in each.items()}
