"""What a server sent back: its body within bounds, what it asks to wait for, and nothing that was sent to it."""

from __future__ import annotations

import httpx

LONGEST = 16 << 20  # bytes of an answer


class RetryableError(Exception):
    """Worth another attempt; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def whole(answer: httpx.Response) -> bytes:
    """The whole body, unpacked.

    Raises:
        RetryableError: no answer to a question is that long.
    """
    body = bytearray()
    for part in answer.iter_bytes():
        body += part
        if len(body) > LONGEST:
            raise RetryableError("junk: the answer has no end")
    return bytes(body)


def hide(text: str, *secrets: str) -> str:
    """`text` without what was sent and is nobody's to read: some servers repeat it in their complaints."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def is_outage(reason: str) -> bool:
    """True for failures that say nothing about the prefix, so a later run should ask again."""
    return reason.startswith(("no answer", "cannot reach", "status"))


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds the server asks to wait, from either form of the header; None without one."""
    value = answer.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
