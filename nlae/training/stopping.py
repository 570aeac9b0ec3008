"""Stops a fit whose words become less faithful while its fidelity still rises, and writes down why."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from nlae.errors import NlaeError
from nlae.tracking.history import HISTORY, points_of
from nlae.training.callbacks import folder_of

logger = logging.getLogger(__name__)

RECORD = "stopped.json"


class StopUnfaithful(pl.Callback):
    """Ends the fit when, over the last `patience` validations, fidelity rose and faithfulness fell.

    Args:
        faithfulness: name of the figure that must not fall.
        fidelity: name of the figure that rises meanwhile.
        patience: validations that are looked back over.
        drop: how far faithfulness must have fallen over them.
    """

    def __init__(
        self,
        faithfulness: str = "val/kept_no_quotes",
        fidelity: str = "val/fve",
        patience: int = 4,
        drop: float = 0.1,
    ) -> None:
        if patience < 1 or drop <= 0:
            raise NlaeError(f"objective.stop: patience={patience} must be at least 1 and drop={drop:g} above 0")
        self.faithfulness, self.fidelity, self.patience, self.drop = faithfulness, fidelity, patience, drop
        self._folder: Path | None = None
        self._points: list[tuple[float, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take up the curves where a killed fit left them."""
        self._folder, self._points = folder_of(trainer), []
        path = None if self._folder is None else self._folder / HISTORY
        for point in points_of(path) if path is not None and path.is_file() else ():
            if (point["update"] or 0) <= pl_module.update:
                self._add(point)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look back after every validation that measured both."""
        if not self._add(pl_module.metrics) or len(self._points) <= self.patience:
            return
        (fidelity, faithfulness), (now, now_faithful) = self._points[-1 - self.patience], self._points[-1]
        if now <= fidelity or faithfulness - now_faithful < self.drop:
            return
        reason = (
            f"update {pl_module.update}: {self.faithfulness} fell from {faithfulness:.3f} to {now_faithful:.3f} over "
            f"{self.patience} validations while {self.fidelity} rose from {fidelity:.3f} to {now:.3f}"
        )
        logger.warning("stopped early: %s", reason)
        if self._folder is not None:
            new = self._folder / f"{RECORD}.new"
            new.write_text(json.dumps({"update": pl_module.update, "reason": reason}) + "\n", encoding="utf-8")
            new.replace(self._folder / RECORD)
        pl_module.last = pl_module.update
        trainer.should_stop = True

    def _add(self, point: Any) -> bool:
        pair = point.get(self.fidelity), point.get(self.faithfulness)
        if None in pair:
            return False
        self._points.append((float(pair[0]), float(pair[1])))
        return True


def stopped(folder: Path) -> bool:
    """Whether the fit of this stage ended early, so that it is not to go on."""
    return (folder / RECORD).is_file()
