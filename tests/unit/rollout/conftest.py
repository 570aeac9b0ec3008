"""Rows that end early."""

from __future__ import annotations

import pytest

from nlae.rollout import ending, plain


@pytest.fixture
def many_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sixth of the vocabulary ends a row, so that rows finish at different times."""
    for module in (ending, plain):
        monkeypatch.setattr(module, "stop_ids", lambda verbalizer, role: set(range(0, 400, 6)))
