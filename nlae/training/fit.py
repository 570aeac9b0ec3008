"""One fit: what learns, its data, its folder; resumed where a kill left it.

Lightning runs the loop, saves and loads. Of its Trainer any argument may be given but those of `REFUSED`. One device:
several are started by the pipeline as a process group of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy

from nlae.errors import NlaeError
from nlae.model.learner import Learner, out_of_time
from nlae.tracking import Run
from nlae.training.callbacks import CurveDrawn, HistoryWriter
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
_TRIES = "it trains on trial before the fit, which would count as updates: "
# callbacks of Lightning that a fit cannot have, and why
REFUSED_CALLBACKS = {
    "StochasticWeightAveraging": "it averages over epochs, and a fit is one: it would keep untrained weights",
    "GradientAccumulationScheduler": REFUSED["accumulate_grad_batches"],
    "BatchSizeFinder": _TRIES + "micro_tokens bounds memory and changes no number",
    "LearningRateFinder": _TRIES + "sweep over lr",
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


def check(trainer: Callable[..., pl.Trainer], callbacks: Mapping[str, object], loggers: object = True) -> None:
    """Build what a fit will run under, so that nothing of it fails after hours of other work.

    Args:
        trainer: Lightning's, or a partial of it.
        callbacks: by name; None leaves one out.
        loggers: whether there are any of Lightning's.

    Raises:
        NlaeError: Lightning's Trainer is given what a fit cannot have, or a callback is none, or cannot work here.
    """
    for name, callback in callbacks.items():
        kind, where = type(callback).__name__, f"callbacks.{name}"
        if callback is None:
            continue
        if not isinstance(callback, pl.Callback):
            raise NlaeError(f"{where} is a {kind}: it must be a pytorch_lightning.Callback")
        if kind in REFUSED_CALLBACKS:
            raise NlaeError(f"{where}: {kind} cannot be had ({REFUSED_CALLBACKS[kind]})")
        if isinstance(callback, pl.callbacks.LearningRateMonitor | pl.callbacks.DeviceStatsMonitor) and not loggers:
            raise NlaeError(
                f"{where}: {kind} writes to loggers of Lightning alone, and there is none: take logger=csv, or one "
                "beside W&B as conf/logger/csv.yaml says"
            )
    given = _given(trainer)
    flags = {"deterministic": None, "benchmark": None}  # they set the process up, which is left to the fit
    _trainer(trainer, {**given, **flags}, Path(), [], [])


def _given(trainer: Callable[..., pl.Trainer]) -> dict[str, Any]:
    """The arguments of a Trainer, none of which is refused."""
    given = dict(trainer.keywords) if isinstance(trainer, partial) else {}
    for key, value in given.items():
        if key in REFUSED and value is not None:
            raise NlaeError(f"trainer.{key}={value}: {REFUSED[key]}")
    return given


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
    given = _given(trainer)
    found = checkpoint_in(folder)
    if found is not None and (stopped(folder) or _is_last(found, module)):
        module.on_load_checkpoint(load(found))
        module.measure()  # the figures of the last update went with the killed process
        module.conclude(folder)
        return
    made = _trainer(trainer, given, folder, [HistoryWriter(folder, run), CurveDrawn(), *callbacks], loggers)
    with _lightning_refusals(module.name):
        made.fit(module, datamodule=data, ckpt_path=found, weights_only=True)
    if made.interrupted:
        raise KeyboardInterrupt
    over = module.update < module.last and out_of_time(made)
    if not over and not module.validated:  # a callback has ended it, or a limit of batches before a kill
        module.measure()
    if over:
        raise NlaeError(
            f"{module.name}: trainer.max_time is over at update {module.update} of {module.last}; run the same command "
            "again: it goes on where it stopped"
        )
    module.conclude(folder)


def _is_last(found: Path, module: Learner) -> bool:
    """Whether what was kept is the end of the fit: its last update, or the one that a callback has ended it at."""
    counts = load(found)["counts"]
    return bool(counts["update"] >= counts.get("last", module.schedule.updates))


@contextmanager
def _lightning_refusals(where: str) -> Iterator[None]:
    """Raises: NlaeError, in place of what Lightning says of settings that do not go together."""
    try:
        yield
    except MisconfigurationException as error:
        raise NlaeError(f"{where}: Lightning refuses these settings ({_one_line(error)})") from error
    except RuntimeError as error:
        if "conditioned on metric" not in str(error):
            raise
        raise NlaeError(
            f"{where}: {_one_line(error)}; each fit logs metrics of its own, and strict=false passes over one that has "
            "none of this name"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _trainer(
    make: Callable[..., pl.Trainer],
    given: dict[str, Any],
    folder: Path,
    callbacks: Sequence[pl.Callback],
    loggers: Sequence[Logger],
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
        # a validation may come after any update: callbacks that monitor look then, not at the end of the epoch
        "check_val_every_n_epoch": None,
        "val_check_interval": 1,
        # nothing of a cluster is looked for: inside an allocation Lightning would count its tasks and take its signals
        "plugins": [LightningEnvironment(), ByRole(given.get("precision") or "32-true")],
        # what callbacks and profilers write; a folder of its own, as where SLURM's variables are set fit loads an
        # `hpc_ckpt_N.ckpt` that lies there
        "default_root_dir": folder / "lightning",
        "callbacks": list(callbacks),
    }
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    try:
        return make(**{**quiet, **given, **own})
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise NlaeError(f"trainer: Lightning refuses these values ({_one_line(error)})") from error


def _place(given: dict[str, Any]) -> torch.device:
    kind, devices = given.get("accelerator") or "cpu", given.get("devices")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NlaeError("trainer.accelerator=gpu, but torch sees no GPU here; use trainer=cpu")
    # weights say their number
    return torch.device("cuda", devices[0] if isinstance(devices, Sequence) else torch.cuda.current_device())
