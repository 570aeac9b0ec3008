"""Judges: who guesses, from a description alone, where an entry fires, and how often the guess is right.

Names are loaded on first use, so that naming a judge in a config imports neither torch nor an HTTP client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlae.dictionary.judge.likelihood import LikelihoodJudge
    from nlae.dictionary.judge.local import LocalJudge
    from nlae.dictionary.judge.protocol import Judge, Question
    from nlae.dictionary.judge.remote import AnthropicJudge, OpenAIJudge
    from nlae.dictionary.judge.run import Judgement, judge_entries
    from nlae.dictionary.judge.settings import JudgeSettings
    from nlae.dictionary.judge.windows import Subject, Windows, read_windows

__all__ = [
    "AnthropicJudge",
    "Judge",
    "JudgeSettings",
    "Judgement",
    "LikelihoodJudge",
    "LocalJudge",
    "OpenAIJudge",
    "Question",
    "Subject",
    "Windows",
    "judge_entries",
    "read_windows",
]

_HOME = {
    "AnthropicJudge": "remote",
    "Judge": "protocol",
    "JudgeSettings": "settings",
    "Judgement": "run",
    "LikelihoodJudge": "likelihood",
    "LocalJudge": "local",
    "OpenAIJudge": "remote",
    "Question": "protocol",
    "Subject": "windows",
    "Windows": "windows",
    "judge_entries": "run",
    "read_windows": "windows",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
