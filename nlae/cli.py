"""The command line: `nlae [goal] [overrides]`.

Nothing heavy is imported at the top, so that `--help` and `--cfg job` answer at once. Results go to standard output,
the folder last; everything else goes to standard error.
"""

import logging
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlae.config.argv import SERVICES, CommandLine, parse_argv
from nlae.errors import NlaeError
from nlae.terminal.quiet import quiet_others

if TYPE_CHECKING:
    from nlae.config.compose import Composed

log = logging.getLogger("nlae")
ERROR, INTERRUPTED = 2, 130

HELP = """\
nlae [goal] [overrides] [options]     natural language autoencoders

Goals bring themselves and their parents up to date, reuse what is there, and resume what is half done:
  corpus      documents, splits, positions
  extract     activations of the target at the site
  describe    the teacher's texts
  verbalizer  learns from the teacher's texts, alone
  reconstructor   likewise
  warmstart   both halves joined into one checkpoint
  reinforce   joint reinforcement
  evaluate    held-out numbers beside their controls
  report      a page to read            (bare `nlae` = nlae report experiment=quickstart)
  scan        what every neuron does over the whole corpus, in one pass
  dictionary  what every neuron stands for, beside its nulls, or an honest "no"   query=… (verbatim) searches it
Services use a trained autoencoder and never train:
  explain     file=notes.txt | text=… (verbatim) | messages=chat.json | vector=v.safetensors
              tokens=all|-1|last_of_turn|regex   stride=n   samples=k   generate=n
  export      format=reference|neuronpedia   out=DIR   (the second writes a finished dictionary)
  browse      pages of a finished dictionary, on this machine only   port=n   file=DIR

Overrides (every command reads one config; conf/README.md lists the groups):
  target=qwen2_5_7b   site.layer=20   prompt=paper   corpus=files corpus.paths=[a.txt]   trainer=gpu   seed=1
  checkpoint=DIR|hub-id      measure or use that autoencoder; nothing trains
  target=tiny debug=smoke    the whole chain in under a minute
Options:
  -m, --multirun     one job per combination:  nlae evaluate -m site.layer=6,13,20 prompt=paper,bullets
  --cfg job          print the composed config and stop (--resolve: with interpolations resolved)
  --config-dir DIR   look for your own config files there as well
  --version, --help

The last line of standard output is the folder that was brought up to date.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: words after the program's name; None takes the process's own.

    Returns:
        Exit status: 0, 2 for a problem told in one line, 130 when interrupted.
    """
    if argv is None:
        quiet_others()
        sys.excepthook = _tell_bug
    from nlae.pipeline.launch import stopped_like_ctrl_c

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with stopped_like_ctrl_c():
            return _dispatch(parse_argv(words))
    except NlaeError as error:
        log.debug("where it came from", exc_info=True)
        sys.stderr.write(f"nlae: error: {one_line(error)}\n")
        return ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f"\nnlae: interrupted; the same command goes on where it stopped: {command(words)}\n")
        return INTERRUPTED


def traced(error: BaseException) -> str:
    """An error that nobody foresaw, with where it came from, without secrets and what a terminal would obey."""
    from nlae.terminal.plain import plain
    from nlae.tracking.redaction import hide

    return plain(hide("".join(traceback.format_exception(error)))).rstrip()


def _tell_bug(kind: type[BaseException], error: BaseException, trace: object) -> None:
    sys.stderr.write(f"{traced(error)}\n")


def one_line(error: BaseException) -> str:
    """An error's message without line breaks, secrets and what a terminal would obey."""
    from nlae.terminal.plain import plain
    from nlae.tracking.redaction import hide

    return plain(hide(" ".join(str(error).split()))) or type(error).__name__


def command(words: Sequence[str]) -> str:
    """Words as they could be typed into a shell, but for secrets."""
    from nlae.tracking.redaction import hide

    return shlex.join(["nlae", *map(hide, words)])


def _dispatch(line: CommandLine) -> int:
    if "help" in line.options:
        sys.stdout.write(HELP)
        return 0
    if "version" in line.options:
        from nlae import __version__

        sys.stdout.write(f"nlae {__version__}\n")
        return 0
    from nlae.config import compose
    from nlae.config.quoting import quote_paths

    typed = quote_paths(line.overrides, sweeps="multirun" in line.options)
    given = typed
    overrides = [*compose.search_path(line.options.get("config_dir")), *given, f"goal={line.goal}"]
    if "cfg" in line.options:
        sys.stdout.write(compose.as_yaml(overrides, line.options["cfg"], "resolve" in line.options, line.verbatim))
        return 0
    from nlae.pipeline.launch import refuse_many

    setup_logging()
    refuse_many()
    composed = None if "multirun" in line.options else compose.compose_plain(overrides)
    if composed is None or composed.multirun:
        return _sweep(line, overrides)
    folder, _ = run_one(composed, line.goal, line.verbatim)
    sys.stdout.write(f"{folder}\n")
    return 0


def setup_logging() -> None:
    """Our own messages to standard error; other packages only when they warn."""
    root = logging.getLogger("nlae")
    if root.handlers:
        return
    from nlae.terminal.progress import ConsoleHandler

    root.addHandler(ConsoleHandler())
    root.setLevel(logging.INFO)
    root.propagate = False
    # Lightning resets its top logger when it is imported, so its talkative child is named
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")


def run_one(
    composed: "Composed", goal: str, verbatim: Mapping[str, str], group: str | None = None
) -> tuple[Path, dict[str, float]]:
    """Bring one goal up to date, or run one service.

    Args:
        composed: the config of this job.
        goal: goal or service.
        verbatim: texts and paths that Hydra must not see.
        group: tracking group; None takes the config's.

    Returns:
        The folder, and the goal's metrics (empty for a service).
    """
    from nlae.config.build import make_findable
    from nlae.config.compose import conf_dir
    from nlae.config.devices import device_of
    from nlae.config.preflight import preflight
    from nlae.pipeline.launch import refuse_many
    from nlae.tracking.redaction import learn

    refuse_many()  # a launcher's job starts here
    config: dict[str, Any] = {**composed.config, **verbatim}
    learn(composed.config)
    make_findable(config, composed.folders)
    trainer = config.get("trainer") or {}
    device_of(trainer.get("accelerator"), trainer.get("devices"))
    checkpoint = None
    if config.get("checkpoint"):
        from nlae.pipeline.adopt import adopt_checkpoint

        config, checkpoint = adopt_checkpoint(config, composed.typed)
    preflight(config, conf_dir())
    from nlae.pipeline.browsing import STAGE, read, reads_dictionary
    from nlae.pipeline.plan import Plan
    from nlae.pipeline.run import bring_up_to_date, job_run, use

    typed = [word for word in composed.overrides if not word.startswith(("goal=", "hydra."))]
    typed += [f"{key}={value}" for key, value in verbatim.items() if key == "checkpoint"]
    if reads_dictionary(goal, config):
        remake, show = command([STAGE, *typed]), command(["browse", *typed])
        return read(config, lambda: Plan(config, checkpoint), goal, remake, show), {}
    plan, name = Plan(config, checkpoint), group or composed.group
    if goal in SERVICES:
        asked = any(key.partition(".")[0] == "logger" for key in composed.typed)
        return use(plan, goal, command([plan.subject, *typed]), name, record=asked), {}
    with job_run(plan, goal, name, in_sweep=group is not None) as run:
        artifact = bring_up_to_date(plan, goal, name, command([goal, *typed]))
        metrics = artifact.metrics()
        run.summary(metrics)
    return artifact.folder, metrics


@dataclass
class SweepJob:
    """Runs one job of a sweep and writes down how it ended; only an interruption gets out.

    Attributes:
        goal: of every job.
        group: tracking group that all jobs share.
        verbatim: as typed.
    """

    goal: str
    group: str
    verbatim: dict[str, str] = field(default_factory=dict)

    def __call__(self, composed: "Composed", folder: Path) -> float | None:
        """Run the job; None when it failed, else its FVE where it has one."""
        from nlae.pipeline.artifact import flat_numbers
        from nlae.pipeline.sweep import write_status
        from nlae.tracking.redaction import learn

        setup_logging()
        learn(composed.config)
        words = [word for word in composed.overrides if not word.startswith(("goal=", "hydra."))]
        status: dict[str, Any] = {"goal": self.goal, "overrides": words, "group": self.group}
        write_status(folder, {**status, "status": "running"})
        log.info("job %s: %s", folder.name, command([self.goal, *words]))
        try:
            made, metrics = run_one(composed, self.goal, self.verbatim, self.group)
        except KeyboardInterrupt:
            write_status(folder, {**status, "status": "interrupted"})
            raise
        except Exception as error:  # a job that fails must not stop the others
            if isinstance(error, NlaeError):
                log.error("job %s: %s", folder.name, one_line(error))
            else:
                log.error("job %s failed\n%s", folder.name, traced(error))
            kind = "" if isinstance(error, NlaeError) else f"{type(error).__name__}: "
            write_status(folder, {**status, "status": "failed", "error": kind + one_line(error)})
            return None
        write_status(folder, {**status, "status": "complete", "folder": str(made), "metrics": flat_numbers(metrics)})
        return metrics.get("fve")


def _sweep(line: CommandLine, overrides: list[str]) -> int:
    from nlae.config.moved import refuse_moved
    from nlae.pipeline.fingerprint import digest
    from nlae.pipeline.sweep import probe, read_statuses, run_sweep, write_status
    from nlae.terminal.plain import plain
    from nlae.tracking.redaction import learn

    if "WANDB_SWEEP_ID" in os.environ:
        raise NlaeError("-m under a W&B agent: each of its trials is one job; leave -m and lists of values out")
    refuse_moved(overrides)
    shared = probe(overrides)
    learn(shared.config)
    devices = [word for word in overrides if word.startswith("trainer.devices=")] or shared.config["trainer"]
    count = devices.get("devices") if isinstance(devices, dict) else devices[-1].partition("=")[2]
    if str(count or 1) != "1":
        raise NlaeError(
            f"trainer.devices={count} with -m: jobs of a sweep share one process, which cannot hold several devices; "
            "set trainer.devices=1, or start one command per job"
        )
    artifacts = Path(shared.config["paths"]["artifacts"]).expanduser().absolute()
    folder = artifacts / "sweeps" / f"{shared.group}-{digest([line.goal, *line.overrides, line.verbatim])[:8]}"
    for old in read_statuses(folder):
        write_status(folder / old.pop("job"), {**old, "status": "waiting"})
    run_sweep(overrides, folder, SweepJob(line.goal, shared.group, line.verbatim))
    statuses = read_statuses(folder)
    for status in statuses:
        end = status.get("folder") or status.get("error") or ""
        row = f"{status['job']:>3} {status['status']:<9} {' '.join(status['overrides'])}  {end}"
        sys.stdout.write(f"{plain(row)}\n")
    sys.stdout.write(f"{folder}\n")
    failed = [status["job"] for status in statuses if status["status"] != "complete"]
    if failed:
        sys.stderr.write(f"nlae: error: {len(failed)} of {len(statuses)} jobs failed: {', '.join(failed)}\n")
        return ERROR
    return 0
