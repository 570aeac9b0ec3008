"""Keeps keys out of whatever is written down: configs, manifests, W&B runs."""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["redact"]

HIDDEN = "***"
SECRET_NAME = re.compile(
    r"(^|_)(api_?key|access_?key|secret|password|passwd|auth_?token|hf_token|authorization)$", re.I
)
USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")


def redact(value: Any) -> Any:
    """A copy of nested dicts and lists with the values of secret-sounding names, and users in URLs, replaced by `***`.

    A name that holds the *name* of an environment variable (`api_key_env`) is kept: it is no secret.
    """
    if isinstance(value, Mapping):
        return {name: _redact_entry(str(name), entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redact(entry) for entry in value]
    if isinstance(value, str):
        return USER_IN_URL.sub(f"{HIDDEN}@", value)
    return value


def _redact_entry(name: str, entry: Any) -> Any:
    if entry is not None and SECRET_NAME.search(name):
        return HIDDEN
    return redact(entry)
