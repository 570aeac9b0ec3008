"""How this process was launched, and how a cluster asks it to stop.

An allocation alone (SLURM's, a PBS job's) is a plain machine. Several tasks of one launch are refused: each would make
the same artifacts. Requeueing is left to the batch script, whose same command goes on where it stopped.
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from nlae.errors import NlaeError

# who launched, and where it says how many processes it has started for one command
LAUNCHERS = {
    "srun": "SLURM_STEP_NUM_TASKS",
    "Open MPI": "OMPI_COMM_WORLD_SIZE",
    "MPI": "PMI_SIZE",
    "jsrun": "JSM_NAMESPACE_SIZE",
    "torchrun": "WORLD_SIZE",
}
STOPS = ("SIGTERM", "SIGUSR1", "SIGXCPU", "SIGHUP")


def refuse_many(environ: Mapping[str, str] = os.environ) -> None:
    """Stop a process that is one of several; nothing may have been written yet.

    Raises:
        NlaeError: a launcher started more than one.
    """
    for launcher, name in LAUNCHERS.items():
        count = environ.get(name, "")
        ranked = launcher != "torchrun" or "RANK" in environ or "LOCAL_RANK" in environ  # left over otherwise
        if count.isdigit() and int(count) > 1 and ranked:
            raise NlaeError(
                f"{launcher} started {count} tasks of one command ({name}={count}), and each would do the same work; "
                "start one, e.g. `srun --ntasks=1 nlae …` (several devices are not used yet)"
            )


@contextmanager
def stopped_like_ctrl_c() -> Iterator[None]:
    """Let the signals by which a batch system ends a job interrupt this process as Ctrl-C does.

    Signals that somebody handles or ignores already (`nohup`, submitit) are left as they are, and so are all of them
    outside the main thread.
    """
    signals = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        signals = []
    ours, own = [number for number in signals if signal.getsignal(number) == signal.SIG_DFL], os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a forked worker ends as it would have
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
