"""Bring a goal up to date: reuse, resume or run each stage that it needs, one process, parents first."""

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from nlae.config.build import build
from nlae.errors import NlaeError
from nlae.files.arrow import write_text
from nlae.pipeline import memory
from nlae.pipeline.artifact import Artifact
from nlae.pipeline.changes import what_changed
from nlae.pipeline.context import StageContext
from nlae.pipeline.fingerprint import declared, digest, pick
from nlae.pipeline.hardware import prepare
from nlae.pipeline.plan import Plan, stage_module
from nlae.pipeline.table import DICTIONARY, DICTIONARY_FORMATS, STAGES, SUBJECT
from nlae.tracking import NullRun, Run, open_job, open_run, redact
from nlae.tracking.history import Replayed

log = logging.getLogger(__name__)


def bring_up_to_date(plan: Plan, goal: str, group: str, command: str = "") -> Artifact:
    """Make everything that `goal` needs and does not have yet.

    Args:
        plan: what the config implies.
        goal: a stage.
        group: tracking group of the runs.
        command: what was typed, for reports.

    Returns:
        The goal's complete artifact.

    Raises:
        NlaeError: a stage cannot do its work; what it had done is kept for the next time.
    """
    rehearse(plan, [stage for stage in plan.order(goal) if not plan.artifact(stage).is_complete()])
    make_root(Path(plan.config["paths"]["artifacts"]).expanduser())
    for stage in plan.order(goal):
        artifact = plan.artifact(stage)
        if artifact.is_complete():
            artifact.drop_resume()  # a kill may have fallen between the seal and this
            log.info("%s %s: up to date", stage, artifact.fingerprint)
            continue
        with one_line_failures(artifact.folder), artifact.locked():
            if artifact.is_complete():  # the job that was waited for has made it
                log.info("%s %s: made meanwhile", stage, artifact.fingerprint)
                continue
            run_stage(plan, artifact, group, command)
    return plan.artifact(goal)


def make_root(folder: Path) -> None:
    """Make the folder of all artifacts.

    Raises:
        NlaeError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NlaeError(
            f"{folder} cannot be made ({error.strerror}): set paths.artifacts, or out= for a service, to a folder that "
            "you may write to"
        ) from error


def rehearse(plan: Plan, stages: Sequence[str]) -> None:
    """Build what the stages to come will build, short of weights, so that a late one does not fail after hours.

    Raises:
        NlaeError: a value that a constructor or a stage's `check` refuses, or a prompt that does not fit the tokenizer.
    """
    paths = dict.fromkeys(path for stage in stages for path in STAGES[stage].nodes)
    nodes = dict.fromkeys(path.partition(".")[0] for path in paths)
    built = {node: build(pick(plan.config, node), node) for node in nodes}
    for stage in stages:
        check = getattr(stage_module(stage), "check", None)
        if check is not None:
            check(plan.config)
    if any(STAGES[stage].trained for stage in stages) and hasattr(built.get("prompt"), "render_verbalizer"):
        built["prompt"].render_verbalizer(plan.source.load_tokenizer())


def run_stage(plan: Plan, artifact: Artifact, group: str, command: str = "") -> None:
    """Run one stage into its folder and seal it; the caller holds the lock."""
    prepare(plan.config)
    resumed = artifact.folder.is_dir()
    log.info("%s %s: %s", artifact.stage, artifact.fingerprint, "going on" if resumed else "starting")
    changed = None if resumed else what_changed(artifact)
    if changed:
        log.info("%s %s: made anew, %s", artifact.stage, artifact.fingerprint, changed)
    started = time.time()
    memory.start(plan.config)
    with (
        one_line_failures(artifact.folder),
        nothing_left_for_nothing(artifact.folder),
        memory.named_when_full(artifact.stage, plan.config),
    ):
        write_config(artifact.folder, plan.config)
        lineage = (artifact.stage, group, artifact.fingerprint, artifact.parents)
        with tracking(plan.config, *lineage, folder=artifact.folder) as opened:
            run = Replayed(opened, artifact.folder)
            folders = plan.parent_folders(artifact.stage)
            context = StageContext(plan.config, artifact.folder, folders, run, artifact.fingerprint, group, command)
            metrics = stage_module(artifact.stage).run(context)
            run.summary(metrics)
        extra = {"target": plan.outside("target"), "tracking": run.directory and str(run.directory)}
        artifact.seal(metrics, started, extra | memory.device_peak(plan.config))
        artifact.drop_resume()
    log.info("%s %s: done in %.1f s", artifact.stage, artifact.fingerprint, time.time() - started)


def tracking(
    config: dict[str, Any], stage: str, group: str, fingerprint: str, parents: dict[str, str], **how: Any
) -> AbstractContextManager[Run]:
    """The run of one executed stage or service, as the `logger` node wants it; `how` goes to `open_run`."""
    settings = logger_settings(config)
    return open_run(
        settings=settings, stage=stage, group=group, fingerprint=fingerprint, parents=parents, config=config, **how
    )


@contextmanager
def job_run(plan: Plan, goal: str, group: str, *, in_sweep: bool) -> Iterator[Run]:
    """The run of a whole job, where it is one of a sweep's; one that records nothing elsewhere.

    Args:
        plan: what the config implies.
        goal: of the job.
        group: tracking group.
        in_sweep: it is a job of our own sweep; one of a W&B agent's is known by its environment.
    """
    if not in_sweep and "WANDB_SWEEP_ID" not in os.environ:
        if "WANDB_RUN_ID" in os.environ:
            log.warning("WANDB_RUN_ID is left alone: every stage has a run of its own, and there is no W&B agent here")
        yield NullRun()
        return
    fingerprint = plan.artifact(goal).fingerprint
    settings = logger_settings(plan.config)
    with open_job(settings=settings, group=group, fingerprint=fingerprint, config=plan.config) as run:
        yield run


def logger_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The `logger` node as tracking takes it; Lightning's loggers are a fit's."""
    return {key: value for key, value in config["logger"].items() if key != "lightning"}


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """The resolved config beside what it made; secrets are blotted out."""
    text = yaml.safe_dump(redact(config), sort_keys=False, allow_unicode=True, width=120)
    write_text(folder / "config.yaml", text)


@contextmanager
def one_line_failures(folder: Path) -> Iterator[None]:
    """Turn what a user can mend, and what libraries phrase in their own ways, into one line.

    Raises:
        NlaeError: the disk is full, or may not be written to.
        KeyboardInterrupt: also where a library turned one into an exit.
    """
    try:
        yield
    except SystemExit as error:  # Lightning ends the process when it is interrupted
        raise KeyboardInterrupt from error
    except NlaeError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left on device" in str(error):
            raise NlaeError(
                f"the disk of {folder} is full; free some space (or set paths.artifacts to another disk) "
                "and run the same command again: it goes on where it stopped"
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
            raise NlaeError(
                f"{error.filename or folder} cannot be written ({error.strerror}): set paths.artifacts to a folder "
                "that you may write to"
            ) from error
        raise


@contextmanager
def nothing_left_for_nothing(folder: Path) -> Iterator[None]:
    """Remove a folder that a failed stage has put nothing into but its config: there is nothing to go on from."""
    try:
        yield
    except Exception:
        inside = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        if all(name == "config.yaml" or name.startswith(".") or name.endswith(".tmp") for name in inside):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def use(plan: Plan, service: str, command: str, group: str, *, record: bool = False) -> Path:
    """Run a service on a checkpoint or on the finished artifact of the config; nothing is ever trained.

    Args:
        plan: what the config implies.
        service: `explain` or `export`.
        command: what makes a missing artifact, for the message.
        group: tracking group.
        record: open a tracking run, once there is something to write into it.

    Returns:
        The folder that was written.

    Raises:
        NlaeError: the service's own `check` refuses what it is given, or there is no trained autoencoder yet.
    """
    check = getattr(stage_module(service), "check", None)
    if check is not None:
        check(plan.config)
    of_dictionary = service == "export" and plan.config.get("format") in DICTIONARY_FORMATS
    parents, subject = _dictionary(plan) if of_dictionary else _subject(plan, service, command)
    prepare(plan.config)
    config = plan.config
    keys = ("file", "text", "messages", "vector", "query", "tokens", "stride", "samples", "generate", "format", "seed")
    wanted = {key: config.get(key) for key in keys} | {"subject": subject}
    wanted |= declared(config, ("explain",))
    wanted["site"] = config.get("site")  # of several sites: which is read
    fingerprint = digest(wanted)
    given = config.get("out") or config["paths"].get("out")
    folder = Path(given) if given else Path(config["paths"]["artifacts"]) / service / fingerprint
    folder = folder.expanduser().absolute()
    with one_line_failures(folder), memory.named_when_full(service, config):
        make_root(folder)
        read = DICTIONARY if of_dictionary else plan.subject if plan.checkpoint is None else SUBJECT
        lineage = {read: subject}
        logged = config if record else {**config, "logger": {"mode": "none"}}
        with tracking(logged, service, group, fingerprint, lineage, late=True) as run:
            metrics = stage_module(service).run(StageContext(config, folder, parents, run, fingerprint, group))
            run.summary(metrics)
    return folder


def _subject(plan: Plan, service: str, command: str) -> tuple[dict[str, Path], str]:
    if plan.checkpoint is not None:
        return {SUBJECT: plan.checkpoint}, plan.checkpoint_hash
    artifact = plan.artifact(plan.subject)
    if not artifact.is_complete():
        raise NlaeError(
            f"{service}: nothing is trained for this config yet; run `{command}` first, or give checkpoint=FOLDER"
        )
    return {**plan.parent_folders("evaluate"), SUBJECT: artifact.folder}, artifact.fingerprint


def _dictionary(plan: Plan) -> tuple[dict[str, Path], str]:
    """Folder of the dictionary that is exported, and what names it in the lineage."""
    if plan.config.get("file"):
        folder = Path(str(plan.config["file"])).expanduser().absolute()
        return {DICTIONARY: folder}, folder.name
    artifact = plan.artifact(DICTIONARY)
    if not artifact.is_complete():
        raise NlaeError(
            "export: no dictionary is made for this config yet; run `nlae dictionary` with the same overrides, or give "
            "file=FOLDER"
        )
    return {DICTIONARY: artifact.folder}, artifact.fingerprint
