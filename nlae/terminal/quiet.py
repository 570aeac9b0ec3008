"""What other packages tell programmers stays off the screen of who runs `nlae`: deprecations, in warnings or in logs.

Everything else that they warn of is shown, one line each. Only for a process that is ours: whoever imports `nlae` keeps
the warnings that Python shows, and so does who asks for them (`python -W`, `PYTHONWARNINGS`).
"""

import logging
import re
import sys
import warnings
from pathlib import Path
from typing import TextIO

log = logging.getLogger("nlae.others")
DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
_DEPRECATED = re.compile(r"deprecat|will be removed|future (version|release)", re.IGNORECASE)


class QuietLogger(logging.Logger):
    """A logger of another package: drops what it says of deprecations, below errors."""

    def handle(self, record: logging.LogRecord) -> None:
        """Hand on every other record, without secrets and signs that a terminal obeys: it may quote a model's files."""
        message = record.getMessage()
        if record.levelno < logging.ERROR and _DEPRECATED.search(message):
            return
        from nlae.terminal.plain import plain
        from nlae.tracking.redaction import hide

        shown = plain(hide(message))
        if shown != message:
            record.msg, record.args = shown, ()
        super().handle(record)


def quiet_others() -> None:
    """Keep other packages' deprecations off the screen; call before they are imported."""
    if sys.warnoptions:
        return
    # not a filter: packages put filters of their own in front when they are imported
    warnings.showwarning = _show
    logging.setLoggerClass(QuietLogger)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    # some deprecate with warnings that are no DeprecationWarning
    if not (issubclass(category, DEPRECATIONS) or _DEPRECATED.search(f"{category.__name__} {message}")):
        log.warning("%s (%s, line %d)", " ".join(str(message).split()), _where(filename), lineno)


def _where(filename: str) -> str:
    """The file's path inside its package: `torch/cuda/__init__.py`."""
    parts = Path(filename).parts
    below = parts[::-1].index("site-packages") if "site-packages" in parts else 2
    return "/".join(parts[-below:])
