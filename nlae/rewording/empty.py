"""No text at all: what is left is what a reader says by itself."""

from __future__ import annotations

from nlae.rewording.base import PerText


class Empty(PerText):
    """Every text becomes the empty one."""

    def one(self, text: str, seed: int) -> str:
        """See `PerText`."""
        return ""
