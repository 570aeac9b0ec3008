"""Experiment tracking: one W&B run per executed stage, or a run that records nothing (`logger=none`).

Offline is the default: it needs no key and no network, and `wandb sync` uploads it later. What is left out on
purpose: resuming a W&B run (a resumed stage replays its record into a new run, which holds every update once, and tags
the unfinished one `superseded`); any use of the process-wide `wandb.run`, so that two jobs of a sweep in one process
never share a run; and Lightning's W&B logger, which imports names that wandb is removing and counts optimizer steps:
`nlae.training.callbacks.HistoryWriter` writes the curves.
"""

from nlae.tracking.opening import open_job, open_run
from nlae.tracking.redaction import hide, learn, redact
from nlae.tracking.run import NullRun, Run, TrackingSettings, versions

__all__ = ["NullRun", "Run", "TrackingSettings", "hide", "learn", "open_job", "open_run", "redact", "versions"]
