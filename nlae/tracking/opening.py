"""Opening W&B runs: one for each executed stage, and one for each job of a sweep.

Variables that name *one* run (a sweep agent's `WANDB_RUN_ID`, `WANDB_NAME`, …) are the job's; no stage's run takes
them.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlae.errors import NlaeError
from nlae.tracking.redaction import redact
from nlae.tracking.run import LateRun, NullRun, Run, Status, TrackingSettings, WandbRun, versions
from nlae.tracking.superseding import remember, remembered, supersede

if TYPE_CHECKING:
    from wandb import Run as WandbHandle

__all__ = ["open_job", "open_run"]

JOB = "job"
# what they name is one run, and a command opens several
ONE_RUN = tuple(
    f"WANDB_{name}"
    for name in (
        *("RUN_ID", "NAME", "JOB_TYPE", "RUN_GROUP", "RESUME", "RESUME_FROM", "FORK_FROM"),
        *("SWEEP_ID", "SWEEP_PARAM_PATH"),
    )
)


@contextmanager
def open_run(
    *,
    settings: TrackingSettings | Mapping[str, Any],
    stage: str,
    group: str,
    fingerprint: str,
    parents: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    late: bool = False,
) -> Iterator[Run]:
    """Open a run for one executed stage and finish it whatever happens.

    Args:
        settings: the `logger` config node.
        stage: name of the stage; becomes the job type.
        group: experiment or sweep that the run belongs to.
        fingerprint: the stage's own.
        parents: parent stage → fingerprint.
        config: the whole resolved config; secrets are replaced by `***` before anything is written.
        folder: the stage's; remembers its runs, and those of killed executions are tagged as superseded.
        late: open it only when something is written.

    Raises:
        NlaeError: W&B refuses to open the run (no key, no network while `mode=online`).
    """
    if not isinstance(settings, TrackingSettings):
        settings = TrackingSettings(**{str(name): value for name, value in settings.items()})
    known, lineage = settings, {"stage": stage, "fingerprint": fingerprint, "parents": dict(parents or {})}
    before = remembered(folder)

    def begin() -> Run:
        if known.mode == "none":
            return NullRun()
        replaced = {"supersedes": [run["id"] for run in before]} if before else {}
        handle = _init(known, lineage, group, {**(config or {}), **replaced})
        if folder is not None:
            directory = str(Path(handle.dir).parent.absolute())
            remember(folder, {"id": handle.id, "path": handle.path, "mode": known.mode, "directory": directory})
            for run in before:
                supersede(run)
        return WandbRun(handle, lineage)

    with _finishing(LateRun(begin) if late else begin()) as opened:
        yield opened


@contextmanager
def open_job(
    *, settings: TrackingSettings | Mapping[str, Any], group: str, fingerprint: str, config: Mapping[str, Any]
) -> Iterator[Run]:
    """Open the run of one job of a sweep; under a W&B agent it is the run that the agent waits for.

    Args:
        settings: the `logger` config node.
        group: the sweep.
        fingerprint: of the job's goal.
        config: as in `open_run`.

    Raises:
        NlaeError: as `open_run`.
    """
    if not isinstance(settings, TrackingSettings):
        settings = TrackingSettings(**{str(name): value for name, value in settings.items()})
    lineage = {"stage": JOB, "fingerprint": fingerprint, "parents": {}}
    if settings.mode == "none":
        yield NullRun()
        return
    named = {name: os.environ[name] for name in ("WANDB_RUN_ID", "WANDB_NAME", "WANDB_SWEEP_ID") if name in os.environ}
    if "WANDB_SWEEP_ID" not in named:
        named = {}
    with _finishing(WandbRun(_init(settings, lineage, group, config, named), lineage, artifact=False)) as opened:
        yield opened


@contextmanager
def _finishing(run: Run) -> Iterator[Run]:
    status: Status = "failed"
    try:
        yield run
        status = "complete"
    except (KeyboardInterrupt, SystemExit):
        status = "interrupted"
        raise
    finally:
        run.finish(status)


@contextmanager
def _no_run_named() -> Iterator[None]:
    """Hide from W&B what names one run, as long as one is opened."""
    hidden = {name: os.environ.pop(name) for name in ONE_RUN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _init(
    settings: TrackingSettings,
    lineage: Mapping[str, Any],
    group: str,
    config: Mapping[str, Any],
    named: Mapping[str, str] | None = None,
) -> "WandbHandle":
    import wandb

    named = named or {}
    directory = Path(settings.dir) if settings.dir else None
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(
        silent=True,
        console="off",  # the console belongs to logging; a captured bar is noise
        x_disable_meta=True,  # it would record the command line and the user's address; versions go to the config
        disable_job_creation=True,
        init_timeout=60,
        sweep_id=named.get("WANDB_SWEEP_ID"),
    )
    mode: Literal["offline", "online"] = "online" if settings.mode == "online" else "offline"
    # under an agent, the sweep's own project: a run of another one is none of its trials
    under_agent = "WANDB_SWEEP_ID" in os.environ
    project = (under_agent and os.environ.get("WANDB_PROJECT")) or settings.project
    entity = (under_agent and os.environ.get("WANDB_ENTITY")) or settings.entity
    try:
        with _no_run_named():
            # the process-wide settings too: otherwise wandb's own telemetry looks for a server at exit
            wandb.setup(settings=wandb.Settings(mode="offline", silent=True) if mode == "offline" else None)
            return wandb.init(
                mode=mode,
                id=named.get("WANDB_RUN_ID") or secrets.token_hex(4),
                project=project,
                entity=entity,
                dir=directory,
                name=named.get("WANDB_NAME") or f"{lineage['stage']}-{lineage['fingerprint'][:8]}",
                group=group,
                job_type=lineage["stage"],
                config={**redact(config), **lineage, "versions": versions()},
                reinit="create_new",
                settings=quiet,
            )
    except (wandb.Error, OSError) as error:
        reason = " ".join(str(error).split())
        raise NlaeError(
            f"W&B opened no run (logger.mode={mode}): {reason}; run `wandb login`, or set logger.mode=offline"
        ) from error
