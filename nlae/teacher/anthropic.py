"""The `anthropic` teacher: the Messages API over plain HTTP, so that no client library is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nlae.teacher.api import ApiTeacher


@dataclass(kw_only=True)
class AnthropicTeacher(ApiTeacher):
    """Messages at `base_url` + `/v1/messages`.

    Attributes:
        version: protocol date sent with every request.
    """

    name: ClassVar[str] = "anthropic"

    version: str = "2023-06-01"

    def request(self, message: str, key: str | None) -> tuple[str, dict[str, str], dict[str, Any]]:
        """One user message."""
        headers = {"anthropic-version": self.version, **({"x-api-key": key} if key else {})}
        body = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "messages": [{"role": "user", "content": message}],
        }
        return "/v1/messages", headers, body

    def read(self, answer: Any) -> str:
        """All text blocks, joined."""
        return "".join(str(block["text"]) for block in answer["content"] if block["type"] == "text")
