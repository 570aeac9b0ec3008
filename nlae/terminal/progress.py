"""Progress with an estimate of the time left, for everything that takes longer than a few seconds.

On a terminal: rich bars on standard error. Elsewhere (a log file, CI): one log line now and then, so that a log of an
hour stays readable. Standard output is never written: its last line belongs to the goal's folder.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from nlae.terminal.plain import plain
from nlae.tracking.redaction import hide

__all__ = ["Bar", "ConsoleHandler", "console", "format_seconds", "track"]

Item = TypeVar("Item")
logger = logging.getLogger(__name__)
console = Console(stderr=True)
"""The console that bars and log handlers share, so that a log line does not tear a bar."""

LINE_EVERY = 30.0


class ConsoleHandler(logging.Handler):
    """Writes log records to the console of the bars: above an open bar, never through it; `warning:` is spelled out.

    Secrets are hidden, and nothing that a model or a file says moves the cursor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(level)s%(message)s", datefmt="%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, unwrapped."""
        record.level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        try:
            # Text, not str: brackets in a message are no markup
            console.print(Text(plain(hide(self.format(record)))), soft_wrap=True)
        except Exception:
            self.handleError(record)


def format_seconds(seconds: float) -> str:
    """`75` as `1:15`, `3675` as `1:01:15`; fractions are dropped."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Bar:
    """One bar, as a context manager; bars opened inside one another share one display.

    Args:
        description: what is being done, in a few words ("extract").
        total: number of steps, or None while it is unknown (set `bar.total` when it is known).
        line_every: seconds between two log lines when standard error is no terminal.
    """

    _display: Progress | None = None
    _open = 0

    def __init__(self, description: str, total: int | None = None, *, line_every: float = LINE_EVERY) -> None:
        self.description = description
        self.total = total
        self.done = 0
        self._note = ""
        self._line_every = line_every
        self._started = self._last_line = time.monotonic()
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._started = self._last_line = time.monotonic()
        if console.is_terminal:
            if Bar._display is None:
                Bar._display = _new_display()
                Bar._display.start()
            Bar._open += 1
            self._task = Bar._display.add_task(self.description, total=self.total, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is None or Bar._display is None:
            if self._last_line > self._started:  # something was said: say how it ended
                logger.info("%s", self._line("done" if kind is None else "stopped"))
            return
        Bar._open -= 1
        Bar._display.stop_task(self._task)
        if Bar._open == 0:
            Bar._display.stop()
            Bar._display = None
        self._task = None

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Count `steps` more; `note` is a short text shown behind the bar ("reward 0.31")."""
        self.done += steps
        if note is not None:
            self._note = note
        if self._task is not None and Bar._display is not None:
            Bar._display.update(self._task, completed=self.done, total=self.total, note=self._note)
        elif time.monotonic() - self._last_line >= self._line_every:
            self._last_line = time.monotonic()
            logger.info("%s", self._line())

    def seconds_left(self) -> float | None:
        """Estimate from the mean pace so far; None before the first step or without a total."""
        if not self.total or not self.done:
            return None
        return (time.monotonic() - self._started) / self.done * max(0, self.total - self.done)

    def _line(self, ending: str | None = None) -> str:
        spent = format_seconds(time.monotonic() - self._started)
        count = f"{self.done}/{self.total}" if self.total else f"{self.done}"
        left = self.seconds_left()
        tail = ending or (f"{format_seconds(left)} left" if left is not None else "")
        return ", ".join(part for part in (f"{self.description}: {count} in {spent}", tail, self._note) if part)


def track(items: Iterable[Item], total: int | None = None, description: str = "working") -> Iterator[Item]:
    """Yield from `items` behind a bar; `total` defaults to `len(items)` where there is one."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Bar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()


def _new_display() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=False,
    )
