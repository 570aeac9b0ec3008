"""Judges: who guesses, from words alone, where an entry fires. Loaded on first use, as they need torch."""

from nlae.files.lazy import lazily

__all__ = ["AnthropicJudge", "LocalJudge", "OpenAIJudge"]

__getattr__ = lazily(__name__, {"AnthropicJudge": "remote", "LocalJudge": "local", "OpenAIJudge": "remote"})
