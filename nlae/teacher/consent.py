"""Asks before money is spent."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from nlae.errors import NlaeError
from nlae.teacher.base import Estimate
from nlae.terminal.plain import plain
from nlae.terminal.progress import console

logger = logging.getLogger(__name__)


def describe_cost(
    name: str, estimate: Estimate, *, role: str = "teacher", node: str = "teacher", sends: str = ""
) -> str:
    """One line with requests, tokens and price, and with what goes where."""
    price = f"price unknown (set {node}.usd_per_million_input and {node}.usd_per_million_output)"
    if estimate.usd is not None:
        price = f"about ${estimate.usd:.2f}"
    return (
        f"{role} {name}: {estimate.requests:,} requests, about {estimate.input_tokens:,} input and "
        f"{estimate.output_tokens:,} output tokens, {price}{'; ' if sends else ''}{sends}"
    )


def require_consent(
    name: str,
    estimate: Estimate,
    *,
    yes: bool,
    ask: Callable[[str], bool] | None = None,
    role: str = "teacher",
    node: str = "teacher",
    instead: str = "teacher=context",
    sends: str = "",
) -> None:
    """Print the estimate and return only if the user agrees (`yes`, or an answer on the terminal).

    Args:
        name: who is asked.
        estimate: of the work.
        yes: agreed beforehand.
        ask: how to ask; None asks on the terminal.
        role: what it is called.
        node: its config node.
        instead: what costs nothing.
        sends: which secrets go to which host: a config may name any environment variable, and any server.

    Raises:
        NlaeError: nobody is there to answer, or the answer is no.
    """
    line = describe_cost(name, estimate, role=role, node=node, sends=sends)
    logger.info("%s", line)
    if yes:
        return
    if ask is None:
        if not sys.stdin.isatty():
            raise NlaeError(f"{line}: nobody is there to confirm; set {node}.yes=true to go ahead")
        ask = _ask_on_terminal
    if not ask(line):
        raise NlaeError(f"{role} {name}: not confirmed, nothing was asked; set {node}.yes=true or choose {instead}")


def _ask_on_terminal(line: str) -> bool:
    return console.input(f"{plain(line)}\nGo ahead? [y/N] ", markup=False).strip().lower() in {"y", "yes"}
