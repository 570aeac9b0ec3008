"""Lets Lightning write its curves into a stage's run.

Lightning's own W&B logger is not used: it imports names that wandb is removing, reads the process-wide run, and takes
`global_step` (every optimizer's step) as the x-axis. Here the x-axis is the module's own `update`.
"""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from nlae.tracking.run import Run

__all__ = ["RunLogger"]


class RunLogger(Logger):
    """Forwards the metrics of a fit to `run`; an `update` among them is the x-axis, else Lightning's step is."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    @property
    def name(self) -> str:
        """Fixed: the run already carries its stage and group."""
        return "nlae"

    @property
    def version(self) -> str:
        """Fixed: a stage writes into its own folder, never into versions of it."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one point; Lightning's `epoch` is dropped, since data order is counted in updates."""
        point = {name: value for name, value in metrics.items() if name not in ("epoch", "update")}
        update = metrics.get("update", step)
        if point:
            self._run.log(point, update=None if update is None else int(update))

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run holds the whole config from the start."""
