"""What learns, one half or both: optimizers, the schedule, guarded steps, held-out curves, what a checkpoint holds.

Steps are manual in all, because every half has a clip and an optimizer of its own, and because a thrown-away step is
counted. Held-out curves are drawn here: Lightning's own loop runs neither before the first update nor after an odd last
one. Everything random is derived from (seed, stage, update, row).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from nlae.errors import NlaeError
from nlae.functional.transfers import Figures, read
from nlae.model.backbone import Backbone
from nlae.model.optimizer import ADAMW, optimizer_of
from nlae.model.per_site import part_at
from nlae.model.schedule import Schedule
from nlae.model.site_reconstructor import SiteReconstructor
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.model.validation import ValidationSet

MICRO_TOKENS = 4096
Part = TypeVar("Part", bound=SiteVerbalizer | SiteReconstructor)


class Learner(pl.LightningModule):
    """Base of all that is trained.

    Args:
        updates: optimizer steps in all.
        warmup: updates of linear rise.
        decay: share of the peak that is left at the last update (linear fall).
        clip_norm: largest gradient norm, of each half.
        weight_decay: of the optimizer.
        micro_tokens: most tokens of one backward, padding counted: memory and speed, not the update.
        validate_every: updates between two points of the held-out curves.
        seed: of everything drawn while training.
        optimizer: makes the optimizer of one half from its parameters, `lr` and `weight_decay`.

    Raises:
        NlaeError: counts that could never train.
    """

    name = "fit"
    strict_loading = False  # a checkpoint holds what is trained alone

    def __init__(
        self,
        *,
        updates: int = 1000,
        warmup: int = 10,
        decay: float = 0.1,
        clip_norm: float = 1.0,
        weight_decay: float = 0.0,
        micro_tokens: int = MICRO_TOKENS,
        validate_every: int = 50,
        seed: int = 0,
        optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    ) -> None:
        super().__init__()
        counts = {"updates": updates, "micro_tokens": micro_tokens, "validate_every": validate_every}
        for name, count in counts.items():
            if count < 1:
                raise NlaeError(f"{self.name}: {name} is {count}; it must be at least 1")
        self.automatic_optimization = False
        self.schedule = Schedule(updates, warmup, decay)
        self.clip_norm, self.weight_decay, self.optimizer = clip_norm, weight_decay, optimizer
        self.micro_tokens, self.validate_every, self.seed = micro_tokens, validate_every, seed
        self.validation: Mapping[str, ValidationSet] | None = None
        self.update = self.skipped = 0
        self.last = updates
        self.metrics: dict[str, float] = {}
        self.validated = False  # whether these hold the held-out figures

    @property
    def halves(self) -> Mapping[str, tuple[Half[Any], float]]:
        """What is trained, and its peak learning rate, by name."""
        raise NotImplementedError

    def trained_state(self) -> dict[str, Tensor]:
        """All trained weights by name, detached."""
        raise NotImplementedError

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy what `trained_state` returned into these weights.

        Raises:
            NlaeError: the weights do not fit.
        """
        copy_state(self.trained_state(), state, self.name)

    def validate(self) -> dict[str, float]:
        """The held-out figures, now."""
        raise NotImplementedError

    def conclude(self, folder: Path) -> None:
        """Choose what a finished fit leaves; called once, whether its last update ran now or before a kill."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One for each half."""
        return [
            optimizer_of(self.optimizer, half.trainable(), lr, self.weight_decay) for half, lr in self.halves.values()
        ]

    def on_fit_start(self) -> None:
        """`from_pretrained` leaves eval mode, and a fit does not flip children."""
        self.train()

    def on_train_start(self) -> None:
        """The first point of the held-out curves, unless this is a resume."""
        self.last = int(self.trainer.num_training_batches)
        if self.update == 0:
            self.measure()

    def measure(self) -> None:
        """The held-out figures of the weights as they are, in place of what the last update measured."""
        if self.validation is not None:
            self.metrics, self.validated = self.validate(), True

    def finish_update(self, metrics: dict[str, float]) -> None:
        """Count the update, validate when it is time, publish the metrics."""
        self.update += 1
        metrics["skipped"] = float(self.skipped)
        due = self.update == self.last or self.update % self.validate_every == 0
        self.validated = self.validation is not None and due
        if self.validated:
            metrics |= self.validate()
        self.metrics = metrics
        if self._trainer is not None:  # for callbacks that monitor; loggers get it per update, not per optimizer step
            self.log_dict(metrics, logger=False, on_step=True, on_epoch=False, batch_size=1)

    def step(self, figures: Figures) -> dict[str, float]:
        """One guarded step of each half, on gradients that are already there.

        Args:
            figures: what the update has measured so far; read together with all norms, the only wait of an update.
        """
        found: Any = self.optimizers()
        optimizers = found if isinstance(found, list) else [found]
        norms = {f"{name}/grad_norm": self.clipped(half.trainable()) for name, (half, _) in self.halves.items()}
        metrics = read({**figures, **norms})
        for optimizer, (name, (_, lr)) in zip(optimizers, self.halves.items(), strict=True):
            self.guarded_step(optimizer, metrics[f"{name}/grad_norm"], lr)
        return {**metrics, "lr_factor": self.schedule.factor(self.update)}

    def clipped(self, parameters: list[nn.Parameter]) -> Tensor:
        """Clip the gradients of one half. Returns their norm before, a tensor of one number where they lie."""
        return torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)

    def guarded_step(self, optimizer: Any, norm: float, peak: float) -> None:
        """Step on clipped gradients; those whose norm is not finite are counted and thrown away, never stepped on."""
        if math.isfinite(norm):
            for group in optimizer.param_groups:
                group["lr"] = peak * self.schedule.factor(self.update)
            optimizer.step()
        else:
            self.skipped += 1
        optimizer.zero_grad(set_to_none=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained alone: the base follows from its source."""
        checkpoint["state_dict"] = self.trained_state()
        # a time limit is of one run, not of all
        kept = {key: state for key, state in checkpoint.get("callbacks", {}).items() if not key.startswith("Timer")}
        checkpoint["callbacks"] = kept
        checkpoint["counts"] = {"update": self.update, "skipped": self.skipped}
        if self.trainer.should_stop and not out_of_time(self.trainer):  # a callback's word: this update is the last
            checkpoint["counts"]["last"] = self.update

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from what was kept."""
        self.load_trained_state(checkpoint["state_dict"])
        checkpoint["state_dict"] = {}  # its names are not those of modules
        self.update, self.skipped = checkpoint["counts"]["update"], checkpoint["counts"]["skipped"]


def out_of_time(trainer: pl.Trainer) -> bool:
    """Whether a time limit of this run is over."""
    timers = [callback for callback in vars(trainer)["callbacks"] if isinstance(callback, pl.callbacks.Timer)]
    return any((timer.time_remaining() or 0) <= 0 for timer in timers)


class Half(Learner, Generic[Part]):
    """One half of an autoencoder: weights that all sites share, a part for each site, and a fit of its own.

    Attributes:
        backbone: holds the shared weights under the role `name`.
        by_name: the part of each site.
        kept: what a site's own weights are kept under.
        batch_size, lr: rows per update, and peak learning rate, of its own fit.
    """

    kept: str
    backbone: Backbone
    by_name: dict[str, Part]
    batch_size: int
    lr: float

    def at(self, name: str | None = None) -> Part:
        """The part of one site; without a name that of the only one.

        Raises:
            NlaeError: there is no such site, or there are several and none is named.
        """
        return part_at(self.by_name, name)

    @property
    def halves(self) -> Mapping[str, tuple[Half[Any], float]]:
        """Itself."""
        return {self.name: (self, self.lr)}

    def trained_state(self) -> dict[str, Tensor]:
        """All trained weights, detached: `<role>.…` once, `<kept>.<site>.…` for each site."""
        state = {f"{self.name}.{name}": weight for name, weight in self.backbone.state(self.name).items()}
        for site, part in self.by_name.items():
            state |= {f"{self.kept}.{site}.{name}": weight.detach() for name, weight in part.own().items()}
        return state

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of this half alone, those of all sites included, in a stable order."""
        own = [parameter for part in self.by_name.values() for parameter in part.own().values()]
        return [*self.backbone.parameters_of(self.name), *own]


def copy_state(own: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str) -> None:
    """Copy weights by name into `own`.

    Raises:
        NlaeError: names or shapes differ.
    """
    if odd := sorted(own.keys() ^ state.keys())[:2]:
        raise NlaeError(f"weights do not fit this {what} (first differences: {', '.join(odd)})")
    for name, weight in own.items():
        if weight.shape != state[name].shape:
            raise NlaeError(f"weight {name} is {tuple(state[name].shape)}, not {tuple(weight.shape)}")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(state[name])
