"""Asks before money is spent."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from nlae.errors import NlaeError
from nlae.progress import console
from nlae.teacher.base import Estimate

logger = logging.getLogger(__name__)


def describe_cost(name: str, estimate: Estimate) -> str:
    """One line with requests, tokens and price."""
    price = "price unknown (set teacher.usd_per_million_input and teacher.usd_per_million_output)"
    if estimate.usd is not None:
        price = f"about ${estimate.usd:.2f}"
    return (
        f"teacher {name}: {estimate.requests:,} requests, about {estimate.input_tokens:,} input and "
        f"{estimate.output_tokens:,} output tokens, {price}"
    )


def require_consent(name: str, estimate: Estimate, *, yes: bool, ask: Callable[[str], bool] | None = None) -> None:
    """Print the estimate and return only if the user agrees (`yes`, or an answer on the terminal).

    Raises:
        NlaeError: nobody is there to answer, or the answer is no.
    """
    line = describe_cost(name, estimate)
    logger.info("%s", line)
    if yes:
        return
    if ask is None:
        if not sys.stdin.isatty():
            raise NlaeError(f"{line}: nobody is there to confirm; set teacher.yes=true to go ahead")
        ask = _ask_on_terminal
    if not ask(line):
        raise NlaeError(
            f"teacher {name}: not confirmed, nothing was asked; set teacher.yes=true or choose teacher=context"
        )


def _ask_on_terminal(line: str) -> bool:
    return console.input(f"{line}\nGo ahead? [y/N] ").strip().lower() in {"y", "yes"}
