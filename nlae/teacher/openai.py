"""The `openai` teacher: any server with chat completions, hosted or one's own (vLLM, llama.cpp, ...)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nlae.teacher.api import ApiTeacher


@dataclass(kw_only=True)
class OpenAITeacher(ApiTeacher):
    """Chat completions at `base_url` + `/chat/completions`; without a key for servers that want none.

    Attributes:
        token_limit_name: what the server calls the cap; some want `max_completion_tokens`.
    """

    name: ClassVar[str] = "openai"

    token_limit_name: str = "max_tokens"

    def request(self, message: str, key: str | None) -> tuple[str, dict[str, str], dict[str, Any]]:
        """One user message."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": message}],
            self.token_limit_name: self.max_tokens,
            "temperature": self.temperature,
        }
        return "/chat/completions", headers, body

    def read(self, answer: Any) -> str:
        """Text of the first choice."""
        return str(answer["choices"][0]["message"]["content"] or "")
