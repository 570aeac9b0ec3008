"""Judges: who guesses, from a description alone, where an entry fires, and how often the guess is right.

Names are loaded on first use, so that naming a judge in a config imports neither torch nor an HTTP client.
"""

from typing import TYPE_CHECKING

from nlae.lazy import lazily

if TYPE_CHECKING:
    from nlae.dictionary.judge.embedding import EmbeddingJudge
    from nlae.dictionary.judge.judgement import Judgement
    from nlae.dictionary.judge.likelihood import LikelihoodJudge
    from nlae.dictionary.judge.local import LocalJudge
    from nlae.dictionary.judge.protocol import Judge, Question
    from nlae.dictionary.judge.remote import AnthropicJudge, OpenAIJudge
    from nlae.dictionary.judge.run import judge_entries
    from nlae.dictionary.judge.settings import JudgeSettings
    from nlae.dictionary.judge.windows import Subject, Windows, read_windows

__all__ = [
    "AnthropicJudge",
    "EmbeddingJudge",
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

__getattr__ = lazily(
    __name__,
    {
        "AnthropicJudge": "remote",
        "EmbeddingJudge": "embedding",
        "Judge": "protocol",
        "JudgeSettings": "settings",
        "Judgement": "judgement",
        "LikelihoodJudge": "likelihood",
        "LocalJudge": "local",
        "OpenAIJudge": "remote",
        "Question": "protocol",
        "Subject": "windows",
        "Windows": "windows",
        "judge_entries": "run",
        "read_windows": "windows",
    },
)
