"""Several jobs from one command: Hydra's sweeper and launcher, our statuses.

Hydra stops at the first traceback and tells nothing of the other jobs. A job here never lets an error out: it writes
`status.json` into its own folder, and the summary is read from those files, wherever a launcher ran the jobs.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nlae.config.compose import Composed, compose_raw, hydra_session, to_plain
from nlae.config.messages import explain_failure
from nlae.config.quoting import quoted
from nlae.errors import NlaeError
from nlae.files.foreign import parse_json
from nlae.tracking.redaction import redact

# Runs one job; gets the composed config and its folder.
Runner = Callable[[Composed, Path], float | None]


class Job:
    """Hydra's task function; picklable, so that launchers can send it to other processes."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def __call__(self, cfg: DictConfig) -> float | None:
        """Compose, then run; returns what an optimising sweeper minimises or maximises."""
        hydra = HydraConfig.get()
        return self.runner(to_plain(cfg, hydra), Path(hydra.runtime.output_dir))


def fixed(overrides: Sequence[str]) -> list[str]:
    """The overrides that have one value."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [word for word, override in zip(overrides, parsed, strict=True) if not override.is_sweep_override()]


def probe(overrides: Sequence[str]) -> Composed:
    """The config without its sweeps: names, paths and devices that all jobs share."""
    with hydra_session():
        try:
            kept = fixed(overrides)
        except HydraException as error:
            raise NlaeError(explain_failure(error, overrides)) from None
        cfg = compose_raw(kept)
        return to_plain(cfg, cfg.hydra)


def run_sweep(overrides: Sequence[str], folder: Path, runner: Runner) -> None:
    """Run every job of a sweep; returns when all have ended, well or not.

    Raises:
        NlaeError: the sweep cannot be composed; no job has started then.
    """
    words = [*overrides, f"hydra.sweep.dir={quoted(str(folder))}"]
    with hydra_session(), _unwritten(folder / "multirun.yaml"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        try:
            hydra.multirun("config", Job(runner), words, with_log_configuration=False)
        except (HydraException, OmegaConfBaseException) as error:
            raise NlaeError(explain_failure(error, fixed(overrides))) from None


@contextmanager
def _unwritten(path: Path) -> Iterator[None]:
    """Hydra saves the whole config there as it was given, secrets included, and has no setting against it."""
    save = OmegaConf.save

    def save_others(config: Any, f: Any, resolve: bool = False) -> None:
        if Path(str(f)).name != path.name:
            save(config, f, resolve)

    path.unlink(missing_ok=True)  # of an earlier version
    OmegaConf.save = staticmethod(save_others)  # type: ignore[method-assign]
    try:
        yield
    finally:
        OmegaConf.save = staticmethod(save)  # type: ignore[method-assign]


def write_status(folder: Path, status: Mapping[str, Any]) -> None:
    """Replace a job's `status.json`; secrets are blotted out."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".status.json.tmp"
    temporary.write_text(json.dumps(redact(status), indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / "status.json")


def read_statuses(folder: Path) -> list[dict[str, Any]]:
    """Statuses of all jobs of a sweep, in the order of their numbers."""
    found = sorted(folder.glob("*/status.json"), key=lambda path: (len(path.parent.name), path.parent.name))
    return [{"job": path.parent.name, **parse_json(path.read_text(encoding="utf-8"))} for path in found]
