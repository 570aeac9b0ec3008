"""One fit: what learns, its data, its folder; resumed where a kill left it.

Lightning runs the loop, saves and loads. Of its Trainer any argument may be given but those of `REFUSED`. One device:
several are started by the pipeline as a process group of their own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy

from nlae.errors import NlaeError
from nlae.model.learner import Learner
from nlae.tracking import Run
from nlae.training.callbacks import HistoryWriter
from nlae.training.resuming import checkpoint_in, load
from nlae.training.stopping import stopped

logger = logging.getLogger(__name__)
for _name in ("pytorch_lightning", "lightning_fabric"):  # devices found and tips; importing Lightning reset the levels
    logging.getLogger(_name).setLevel(logging.WARNING)

_STEPS = "steps are manual, as two halves have clips of their own: "
_LENGTH = "an epoch is the whole fit, one batch an update: set updates of verbalizer, reconstructor or objective"
_CURVES = "curves are drawn at update 0, every validate_every and at the last, which Lightning's loop cannot: set that"
_EXACT = "one device and a resume bit for bit need ours"
# arguments of Lightning's Trainer that a fit cannot have, and why
REFUSED = {
    "gradient_clip_val": _STEPS + "set clip_norm",
    "gradient_clip_algorithm": _STEPS + "set clip_norm",
    "accumulate_grad_batches": _STEPS + "micro_tokens already splits an update",
    **dict.fromkeys(("max_epochs", "min_epochs", "max_steps", "min_steps"), _LENGTH),
    "overfit_batches": "an epoch is the whole fit, so no batch comes twice: use limit_train_batches",
    "reload_dataloaders_every_n_epochs": _LENGTH,
    **dict.fromkeys(
        ("limit_val_batches", "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps"), _CURVES
    ),
    **dict.fromkeys(("strategy", "plugins", "num_nodes", "use_distributed_sampler", "sync_batchnorm"), _EXACT),
    "default_root_dir": "a fit writes into its stage's folder",
    "enable_checkpointing": "set callbacks.resume.every",
    "callbacks": "they have a group of their own",
    "logger": "it has a group of its own",
    "barebones": "it would leave nothing to resume from",
}


class Staying(SingleDeviceStrategy):
    """One device, where the weights still are after the fit: Lightning would bring them to the host."""

    def teardown(self) -> None:
        """Let go of everything but the weights."""
        module, self._lightning_module = self._lightning_module, None
        self.optimizers = []  # they end here, so their states need not be brought anywhere
        super().teardown()
        self._lightning_module = module


class ByRole(Precision):
    """Autocast is the backbone's, role by role: the bare target is read as extraction read it, within the same step."""

    def __init__(self, precision: Any) -> None:
        self.precision = precision


def check_trainer(given: dict[str, Any]) -> None:
    """Raises: NlaeError, when Lightning's Trainer is given what a fit cannot have."""
    for key, value in given.items():
        if key in REFUSED and value is not None:
            raise NlaeError(f"trainer.{key}={value}: {REFUSED[key]}")


def fit(
    module: Learner,
    data: pl.LightningDataModule,
    folder: Path,
    *,
    run: Run,
    trainer: Callable[..., pl.Trainer] = pl.Trainer,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
) -> None:
    """Train `module` to its last update.

    Args:
        module: what learns.
        data: serves updates from that of `folder`'s checkpoint on.
        folder: the stage's folder; gets `history.jsonl`, and from a callback `resume/`.
        run: gets the curves.
        trainer: Lightning's, or a partial of it.
        callbacks: further Lightning callbacks; those that write checkpoints come last by Lightning's own order.
        loggers: Lightning's; they get every point of the history.

    Raises:
        NlaeError: the device does not exist, an argument that a fit cannot have, or `max_time` is over.
    """
    given = dict(trainer.keywords) if isinstance(trainer, partial) else {}
    check_trainer(given)
    found = checkpoint_in(folder)
    if found is not None and (stopped(folder) or load(found)["counts"]["update"] >= module.schedule.updates):
        _finished(module, found)
        module.conclude(folder)
        return
    made = _trainer(trainer, given, [HistoryWriter(folder, run), *callbacks], loggers)
    made.fit(module, datamodule=data, ckpt_path=found, weights_only=True)
    if made.interrupted:
        raise KeyboardInterrupt
    if not module.metrics:  # a limit of batches was reached before the kill: nothing was left to do
        _measure(module)
    timers = [callback for callback in vars(made)["callbacks"] if isinstance(callback, Timer)]
    if module.update < module.last and any((timer.time_remaining() or 0) <= 0 for timer in timers):
        raise NlaeError(
            f"{module.name}: trainer.max_time is over at update {module.update} of {module.last}; run the same command "
            "again: it goes on where it stopped"
        )
    module.conclude(folder)


def _trainer(
    make: Callable[..., pl.Trainer], given: dict[str, Any], callbacks: Sequence[pl.Callback], loggers: Sequence[Logger]
) -> pl.Trainer:
    place = _place(given)
    own: dict[str, Any] = {
        "accelerator": "cpu" if place.type == "cpu" else "gpu",
        "devices": 1 if place.type == "cpu" else [place.index],
        "strategy": Staying(place),
        "precision": None,
        "max_epochs": 1,
        "logger": list(loggers) or False,
        "enable_checkpointing": any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks),
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        # nothing of a cluster is looked for: inside an allocation Lightning would count its tasks and take its signals
        "plugins": [LightningEnvironment(), ByRole(given.get("precision") or "32-true")],
        # where SLURM's variables are set, fit loads the pickled `hpc_ckpt_N.ckpt` of this folder: none can lie here
        "default_root_dir": os.devnull,
        "callbacks": list(callbacks),
    }
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    try:
        return make(**{**quiet, **given, **own})
    except (TypeError, ValueError) as error:  # Lightning's own refusals are ValueErrors of its kind
        raise NlaeError(f"trainer: Lightning refuses these values ({' '.join(str(error).split())})") from error


def _place(given: dict[str, Any]) -> torch.device:
    kind, devices = given.get("accelerator") or "cpu", given.get("devices")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NlaeError("trainer.accelerator=gpu, but torch sees no GPU here; use trainer=cpu")
    # weights say their number
    return torch.device("cuda", devices[0] if isinstance(devices, Sequence) else torch.cuda.current_device())


def _finished(module: Learner, found: Path) -> None:
    """All updates were done before a kill: load what they made."""
    module.on_load_checkpoint(load(found))
    _measure(module)


def _measure(module: Learner) -> None:
    """The figures of the last update went with the killed process; they follow from the weights alone."""
    if module.validation is not None:
        module.metrics = module.validate()
