"""One fit: an objective, its data, its folder; resumed where a kill left it.

Lightning runs the loop; its checkpoints, bars and loggers are off, since ours count updates. One device: several are
started by the pipeline as a process group of their own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import SingleDeviceStrategy

from nlae.activations.datamodule import ActivationDataModule
from nlae.errors import NlaeError
from nlae.tracking import Run
from nlae.training.base import Objective
from nlae.training.callbacks import HistoryWriter
from nlae.training.resuming import load_weights, resume_folder

logger = logging.getLogger(__name__)
for _name in ("pytorch_lightning", "lightning_fabric"):  # devices found and tips; importing Lightning reset the levels
    logging.getLogger(_name).setLevel(logging.WARNING)


class Resuming(pl.Callback):
    """Loads the newest resume folder at the start; comes first, so that all others see the resumed update.

    Args:
        folder: the stage's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Go on where a killed run stopped."""
        found = resume_folder(self.folder)
        if found is not None:
            pl_module.load_resume(found)
            logger.info("%s: resuming at update %d", pl_module.name, pl_module.update)


class Staying(SingleDeviceStrategy):
    """One device, where the weights still are after the fit: Lightning would bring them to the host."""

    def teardown(self) -> None:
        """Let go of everything but the weights."""
        module, self._lightning_module = self._lightning_module, None
        self.optimizers = []  # they end here, so their states need not be brought anywhere
        super().teardown()
        self._lightning_module = module


class Saving(pl.Callback):
    """Writes a resume folder every so many updates; comes last, so that no kill can lose a point of the history.

    Args:
        folder: the stage's folder.
        every: updates between two writes.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write when it is time, and after the last update."""
        if pl_module.update % self.every == 0 or pl_module.update == pl_module.schedule.updates:
            pl_module.save_resume(self.folder / "resume")


def fit(
    module: Objective,
    data: ActivationDataModule,
    folder: Path,
    *,
    run: Run,
    checkpoint_every: int,
    device: str = "cpu",
    callbacks: Sequence[pl.Callback] = (),
) -> None:
    """Train `module` to its last update.

    Args:
        module: the objective; afterwards its `trained` is the trained pair or mixture.
        data: serves updates from `data.start_update` on, which must be where `folder` can be resumed.
        folder: the stage's folder; gets `history.jsonl` and `resume/`.
        run: gets the curves.
        checkpoint_every: updates that a kill can cost.
        device: `cpu`, `cuda` or `cuda:1`.
        callbacks: further Lightning callbacks.

    Raises:
        NlaeError: the device does not exist.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise NlaeError(f"trainer.device is {device!r} but torch sees no GPU here; use trainer=cpu")
    if data.start_update >= module.schedule.updates:
        _finished(module, folder)
        return
    place = torch.device(device)
    if device == "cuda":  # weights say their number
        place = torch.device("cuda", torch.cuda.current_device())
    trainer = pl.Trainer(
        accelerator="cpu" if device == "cpu" else "gpu",
        devices=1 if device == "cpu" else [place.index],
        strategy=Staying(place),
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        # nothing of a cluster is looked for: inside an allocation Lightning would count its tasks and take its signals
        plugins=[LightningEnvironment()],
        # where SLURM's variables are set, fit loads the pickled `hpc_ckpt_N.ckpt` of this folder: none can lie here
        default_root_dir=os.devnull,
        callbacks=[Resuming(folder), HistoryWriter(folder, run), *callbacks, Saving(folder, checkpoint_every)],
    )
    trainer.fit(module, train_dataloaders=data.train_dataloader())
    if trainer.interrupted:
        raise KeyboardInterrupt


def _finished(module: Objective, folder: Path) -> None:
    """All updates were done before a kill: load what they made."""
    module.configure_model()
    found = resume_folder(folder)
    if found is None:
        raise NlaeError(f"{folder} has no resume folder although all updates are done; delete it and run again")
    module.trained.load_trained_state(load_weights(found))
    module.update = module.schedule.updates
    if module.validation is not None:
        # the figures of the last update went with the killed process; they follow from the weights alone
        module.metrics = module.validate()
