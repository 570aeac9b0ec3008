"""What a stage is handed: plain config, folders, a run to log to, and a way to build objects from nodes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlae.config.build import build
from nlae.errors import NlaeError
from nlae.pipeline.fingerprint import pick
from nlae.pipeline.hardware import base_dtype, device, weights
from nlae.tracking import Run


@dataclass
class StageContext:
    """One stage about to run.

    Attributes:
        config: whole resolved config, plain; `site` has its layer.
        folder: write here; what is in it survives a kill, and a rerun goes on from it.
        parents: stage name -> finished folder. The measured checkpoint is `subject` when there is one.
        run: tracking run, or one that records nothing.
        fingerprint: the stage's own.
        group: tracking group.
        command: what was typed, for reports.
    """

    config: dict[str, Any]
    folder: Path
    parents: dict[str, Path]
    run: Run = field(default_factory=Run)
    fingerprint: str = ""
    group: str = "default"
    command: str = ""

    def build(self, node: str, **extra: Any) -> Any:
        """Build the object of a config node (`target`, `objective`), with further keyword arguments.

        Raises:
            NlaeError: there is no such node, or its callable refuses it.
        """
        value = pick(self.config, node)
        if value is None:
            raise NlaeError(f"config has no node {node}: choose an option of its group")
        return build(value, node, **extra)

    def node(self, path: str) -> dict[str, Any]:
        """Settings of a node without its `_target_`; empty when there is none."""
        value = pick(self.config, path)
        return {key: item for key, item in (value or {}).items() if key != "_target_"}

    @property
    def dtype(self) -> str:
        """Data type of the frozen base weights."""
        return base_dtype(self.config)

    @property
    def precision(self) -> str:
        """How weights are kept and multiplied, as a model takes it."""
        return weights(self.config)

    @property
    def device(self) -> str:
        """Device of models, in torch's words."""
        return device(self.config)

    @property
    def seed(self) -> int:
        """Seed of training and sampling."""
        return int(self.config.get("seed") or 0)
