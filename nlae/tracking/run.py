"""One run per executed stage: curves over `update`, tables, pages, and lineage by fingerprints.

A run is a record, never an input: no stage reads one back. How one is opened is `opening`'s business.
"""

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from wandb import Run as WandbHandle

__all__ = ["LateRun", "NullRun", "Relayed", "Run", "Status", "TrackingSettings", "WandbRun", "versions"]

logger = logging.getLogger(__name__)
Status = Literal["complete", "failed", "interrupted"]
PACKAGES = ("nlae", "torch", "transformers", "pytorch-lightning", "peft", "datasets", "tokenizers")


@dataclass(frozen=True)
class TrackingSettings:
    """What the `logger` config node says.

    Args:
        mode: `offline` (no key, no network), `online` (needs `wandb login`), or `none`.
        project: W&B project.
        entity: W&B user or team; None is the key's default.
        dir: folder that gets the `wandb/` folder; None is the working directory.
    """

    mode: str = "offline"
    project: str = "nlae"
    entity: str | None = None
    dir: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("offline", "online", "none"):
            raise NlaeError(f"logger.mode={self.mode!r} is unknown: use offline, online or none")


class Run:
    """Where a stage writes down what happens; the base class records nothing and is what `logger=none` gives."""

    directory: Path | None = None
    """Folder of the W&B run on this machine; None when nothing is recorded."""

    def log(self, metrics: Mapping[str, float], update: int | None = None) -> None:
        """Add one point to each named curve; `update` is the x-axis."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Store a table, for example of explanations."""

    def html(self, name: str, path: Path) -> None:
        """Store a self-contained HTML page."""

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Set the figures that stand for the whole run."""

    def finish(self, status: Status) -> None:
        """Close the run; calling it again does nothing."""


class NullRun(Run):
    """Records nothing."""


class Relayed(Run):
    """Passes everything on to another run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.directory = run.directory

    def log(self, metrics: Mapping[str, float], update: int | None = None) -> None:
        """Add one point to each named curve; `update` is the x-axis."""
        self.opened().log(metrics, update)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Store a table, for example of explanations."""
        self.opened().table(name, columns, rows)

    def html(self, name: str, path: Path) -> None:
        """Store a self-contained HTML page."""
        self.opened().html(name, path)

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Set the figures that stand for the whole run."""
        self.opened().summary(metrics)

    def finish(self, status: Status) -> None:
        """Close the run; calling it again does nothing."""
        self.run.finish(status)

    def opened(self) -> Run:
        """The run that is written to."""
        return self.run


class LateRun(Relayed):
    """Opened by the first thing that is written to it, so that refused input leaves no run behind.

    Args:
        begin: opens it.
    """

    def __init__(self, begin: Callable[[], Run]) -> None:
        super().__init__(NullRun())
        self._begin: Callable[[], Run] | None = begin

    def opened(self) -> Run:
        """The run, from now on an open one."""
        if self._begin is not None:
            self.run, self._begin = self._begin(), None
            self.directory = self.run.directory
        return self.run


class WandbRun(Run):
    """Writes to one W&B run.

    Args:
        handle: the open run, not shared with any other stage.
        lineage: stage, fingerprint and parents; they become the metadata of the artifact that stands for the stage's
            folder (the folder itself is not uploaded).
        artifact: whether there is such a folder.
    """

    def __init__(self, handle: "WandbHandle", lineage: Mapping[str, Any], artifact: bool = True) -> None:
        self._handle, self._has_artifact = handle, artifact
        self._lineage = dict(lineage)
        self._figures: dict[str, float] = {}
        self._finished = False
        self.directory = Path(handle.dir).parent
        handle.define_metric("update")
        handle.define_metric("*", step_metric="update")

    def log(self, metrics: Mapping[str, float], update: int | None = None) -> None:
        """Add one point to each named curve; `update` is the x-axis."""
        point: dict[str, float] = {name: _number(value) for name, value in metrics.items()}
        if update is not None:
            point["update"] = int(update)
        self._handle.log(point)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Store a table, for example of explanations."""
        import wandb

        self._handle.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def html(self, name: str, path: Path) -> None:
        """Store a self-contained HTML page as it is (W&B adds no style of its own)."""
        import wandb

        self._handle.log({name: wandb.Html(path.read_text(encoding="utf-8"), inject=False, data_is_not_path=True)})

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Set the figures that stand for the whole run."""
        figures = {name: _number(value) for name, value in metrics.items()}
        self._figures.update(figures)
        self._handle.summary.update(figures)

    def finish(self, status: Status) -> None:
        """Close the run; a complete one leaves an artifact that names its fingerprint and its parents'."""
        if self._finished:
            return
        self._finished = True
        try:
            self._handle.summary.update({"status": status})
            if status == "complete" and self._has_artifact:
                self._log_artifact()
        finally:
            self._handle.finish(exit_code=0 if status == "complete" else 1)

    def _log_artifact(self) -> None:
        import wandb

        stage, fingerprint = self._lineage["stage"], self._lineage["fingerprint"]
        artifact = wandb.Artifact(
            f"{stage}-{fingerprint}", type=stage, metadata={**self._lineage, "metrics": self._figures}
        )
        if not self._handle.offline:
            for parent, parent_fingerprint in self._lineage["parents"].items():
                try:
                    self._handle.use_artifact(f"{parent}-{parent_fingerprint}:latest")
                except (wandb.Error, ValueError):
                    # the parent may have been made offline: its fingerprint stands in the metadata all the same
                    logger.info("W&B does not hold %s-%s: lineage link left out", parent, parent_fingerprint)
        self._handle.log_artifact(artifact)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what comes out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _number(value: Any) -> float:
    """Plain Python numbers: a tensor or numpy scalar would be stored as an object."""
    number = value.item() if hasattr(value, "item") else value
    return int(number) if isinstance(number, bool | int) else float(number)
