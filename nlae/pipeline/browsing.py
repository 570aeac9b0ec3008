"""Commands that read a finished dictionary: `browse`, and `dictionary query=…`. They make nothing and log no run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nlae.errors import NlaeError
from nlae.pipeline.plan import Plan, stage_module

STAGE = "dictionary"


def reads_dictionary(goal: str, config: Mapping[str, Any]) -> bool:
    """Whether a command only reads a dictionary."""
    return goal == "browse" or (goal == STAGE and config.get("query") is not None)


def read(config: Mapping[str, Any], plan: Callable[[], Plan], goal: str, command: str, browse: str) -> Path:
    """Show the pages of a dictionary, or answer a query.

    Args:
        config: the resolved config; `file` names a dictionary's folder, else it is the config's own.
        plan: what the config implies; asked for only where there is no `file`, as it looks up the target.
        goal: `browse` or `dictionary`.
        command: what makes a missing dictionary, for the message.
        browse: what opens the pages, for the hint.

    Returns:
        The dictionary's folder.

    Raises:
        NlaeError: there is no finished dictionary, or an empty query.
    """
    if goal != "browse" and not str(config["query"]).strip():
        raise NlaeError('query= is empty: give words to look for, as in query="names of rivers"')
    folder = _folder(config, plan, goal, command)
    stage = stage_module("browse")
    if goal == "browse":
        stage.run(folder, int(config.get("port") or 0))
    else:
        stage.answer(folder, str(config["query"]), browse)
    return folder


def _folder(config: Mapping[str, Any], plan: Callable[[], Plan], goal: str, command: str) -> Path:
    given = config.get("file")
    if given:
        return Path(str(given)).expanduser().absolute()
    artifact = plan().artifact(STAGE)
    if not artifact.is_complete():
        raise NlaeError(
            f"{goal}: no dictionary is made for this config yet; run `{command}` first, or give file=FOLDER"
        )
    return artifact.folder
