"""Judges: who guesses, from words alone, where an entry fires. Loaded on first use, as most of them need torch."""

from nlae.dictionary.judge.judging import Judging
from nlae.dictionary.judge.steering import Steering
from nlae.files.lazy import lazily

__all__ = ["AnthropicJudge", "EmbeddingJudge", "Judging", "LocalJudge", "OpenAIJudge", "Steering"]

__getattr__ = lazily(
    __name__,
    {"AnthropicJudge": "remote", "EmbeddingJudge": "embedding", "LocalJudge": "local", "OpenAIJudge": "remote"},
)
