"""What a fit tells the world while it runs: curves, a bar, warnings of thrown-away steps and of another's samples.

Everything reads the objective's own `update` and `metrics`; Lightning's `global_step` counts optimizers, not updates.
"""

import logging
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl

from nlae.errors import NlaeError
from nlae.terminal.progress import Bar
from nlae.tracking import Run
from nlae.tracking.history import History
from nlae.training.resuming import NAME

__all__ = ["CurveDrawn", "HistoryWriter", "NonFiniteWatch", "ProgressBar", "Resume", "SamplerGapWatch", "Updating"]

logger = logging.getLogger(__name__)


class Updating(Protocol):
    """What the callbacks need of a Lightning module."""

    update: int
    """Updates done."""
    skipped: int
    """Steps thrown away because a gradient was not finite."""
    metrics: dict[str, float]
    """What the last update measured."""


class HistoryWriter(pl.Callback):
    """Writes `history.jsonl` into the stage's folder and the same points into its run.

    Args:
        folder: the stage's folder.
        run: the stage's run.
    """

    observes_only = True

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder = folder
        self._history = History(folder / "history.jsonl")
        self._run = run
        self._first = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Forget what was written after the update that the fit resumes at."""
        module: Updating = pl_module
        self._first = module.update == 0
        self._history.rewind(module.update if module.update else -1)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Write what was measured before the first update: the curve's point at 0."""
        if self._first and pl_module.metrics:
            self._write(trainer, pl_module)
        self._first = False

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write the point of the update that just ended."""
        self._write(trainer, pl_module)

    def _write(self, trainer: pl.Trainer, module: Updating) -> None:
        self._history.append(module.update, module.metrics)
        self._run.log(module.metrics, update=module.update)
        for logger in trainer.loggers:  # not by `self.log`: Lightning would count optimizer steps
            logger.log_metrics(module.metrics, step=module.update)


def folder_of(trainer: pl.Trainer) -> Path | None:
    """The stage's folder: where the history is written; None where none is."""
    writers = [callback for callback in trainer.callbacks if isinstance(callback, HistoryWriter)]  # type: ignore[attr-defined]
    return writers[0].folder if writers else None


class CurveDrawn(pl.Callback):
    """Calls the other callbacks as Lightning's own validation would, after an update whose held-out figures are there.

    Those that stop, or keep weights, by a held-out figure wait for it.
    """

    observes_only = True

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Pass on that a validation began and ended."""
        if not pl_module.validated:
            return
        for hook in ("start", "epoch_start", "epoch_end", "end"):
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                getattr(callback, f"on_validation_{hook}")(trainer, pl_module)


class ProgressBar(pl.Callback):
    """One bar over the updates, with the time left and a few figures.

    Args:
        show: names of metrics to show behind the bar, where they were measured.
    """

    observes_only = True

    def __init__(self, show: list[str] | None = None) -> None:
        self._show = show or []
        self._bar: Bar | None = None
        self._seen: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Open the bar over the updates that are left."""
        left = trainer.num_training_batches
        self._bar = Bar(getattr(pl_module, "name", "fit"), int(left) if left != float("inf") else None)
        self._bar.__enter__()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move on by one update."""
        self._seen.update({name: pl_module.metrics[name] for name in self._show if name in pl_module.metrics})
        if self._bar is not None:
            self._bar.advance(note=", ".join(f"{name} {value:.3g}" for name, value in self._seen.items()))

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Close the bar."""
        self._close(None)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Close the bar: an open one would swallow the message."""
        self._close(exception)

    def _close(self, error: BaseException | None) -> None:
        if self._bar is not None:
            self._bar.__exit__(None if error is None else type(error), error, None)
            self._bar = None


class Resume(pl.callbacks.Checkpoint):
    """Saves what a killed fit goes on from: Lightning's checkpoint, which it puts behind all other callbacks.

    Lightning's own `ModelCheckpoint` is left out: it writes in place, and before the point of its update is on disk.

    Args:
        every: updates between two writes, which is what a kill can cost; the last update is always kept,
            and that of a time limit.
    """

    observes_only = True

    def __init__(self, every: int = 10) -> None:
        if every < 1:
            raise NlaeError(f"callbacks.resume.every={every} must be at least 1")
        self._every = every
        self._folder: Path | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Find the stage's folder, where the history is written."""
        folder = folder_of(trainer)
        self._folder = None if folder is None else folder / "resume"

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write when it is time, and after the last update; whole or not at all."""
        due = pl_module.update % self._every == 0 or pl_module.update == pl_module.last or trainer.should_stop
        if self._folder is None or not due:
            return
        new = self._folder / f"{NAME}.new"
        trainer.save_checkpoint(new)
        new.replace(self._folder / NAME)


class NonFiniteWatch(pl.Callback):
    """Warns about thrown-away steps, and stops a fit that does nothing else.

    Args:
        stop_after: updates in a row, each with a thrown-away step, after which the fit is stopped.
    """

    observes_only = True

    def __init__(self, stop_after: int = 25) -> None:
        if stop_after < 1:
            raise NlaeError(f"callbacks: stop_after={stop_after} must be at least 1")
        self._stop_after = stop_after
        self._counted = 0
        self._in_a_row = 0
        self._warn_at = 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start from what the resumed fit had counted."""
        self._counted = pl_module.skipped

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Compare the count with the last one; warn at 1, 2, 4, 8, … thrown-away steps."""
        module: Updating = pl_module
        grown, self._counted = module.skipped > self._counted, module.skipped
        self._in_a_row = self._in_a_row + 1 if grown else 0
        if grown and module.skipped >= self._warn_at:
            logger.warning(
                "update %d: gradient not finite, step thrown away (%d so far)", module.update, module.skipped
            )
            self._warn_at = 2 * module.skipped
        if self._in_a_row >= self._stop_after:
            raise NlaeError(
                f"update {module.update}: gradients were not finite {self._in_a_row} updates in a row; "
                "lower the learning rate or run with trainer.precision=32-true"
            )


class SamplerGapWatch(pl.Callback):
    """Warns, once a fit, when rollouts are not drawn from the policy that is trained.

    `policy/sampler_gap` is how far, in nats a token, the log-probabilities of the engine that drew a token and of the
    policy that is trained lie apart: rounding, unless the engine's weights or its arithmetic are others.

    Args:
        limit: warn above it; None is `LIMITS` of the precision.
    """

    observes_only = True

    # measured: 1e-6 in fp32; 0.017 (tiny) to 0.046 (SmolLM2-135M) with bf16. Weights of one update before: 0.3
    LIMITS = {"fp32": 1e-3, "bf16-mixed": 0.15, "bf16-base": 0.15}  # noqa: RUF012
    METRIC = "policy/sampler_gap"

    def __init__(self, limit: float | None = None) -> None:
        if limit is not None and not limit > 0:
            raise NlaeError(f"callbacks.sampler_gap.limit={limit}: choose a number above 0, in nats a token, or null")
        self._limit = limit
        self._told = False

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look at the update's figure, where it has one."""
        gap = pl_module.metrics.get(self.METRIC)
        if gap is None or self._told:
            return
        limit = self.LIMITS[pl_module.autoencoder.backbone.precision] if self._limit is None else self._limit
        if gap <= limit:  # false for nan too
            return
        self._told = True
        logger.warning(
            "update %d: %s is %.3g nats a token (expected at most %.3g): rollouts are not drawn from the policy that "
            "is trained; try rollout=plain, or raise callbacks.sampler_gap.limit if the engine's rounding explains it",
            pl_module.update,
            self.METRIC,
            gap,
            limit,
        )
