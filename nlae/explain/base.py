"""What reading needs of an autoencoder: its facade imports this room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from nlae.functional.scaling import SiteStatistics


class Said(Protocol):
    """One explanation: its text, whether it was closed by its tag, and its length in generated tokens."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def closed(self) -> bool: ...  # noqa: D102
    @property
    def n_tokens(self) -> int: ...  # noqa: D102


class Reader(Protocol):
    """The part of `nlae.Autoencoder` that reading uses."""

    @property
    def target(self) -> Any:
        """The frozen model, with `.model`, `.tokenizer`, `.source_name`."""

    @property
    def site(self) -> Any:
        """Where activations are read, with `.name` and `.min_position`."""

    @property
    def statistics(self) -> Any:
        """`SiteStatistics` of the training rows, or None for a foreign checkpoint without them."""

    def activations(self, input_ids: list[list[int]]) -> list[Tensor]:
        """Raw activations at the site, one [T, D] tensor for each list of ids."""

    def verbalize(self, activation_ND: Tensor, *, seeds: Sequence[int], temperature: float = 1.0) -> Sequence[Said]:
        """One explanation for each row."""

    def reconstruct(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [N, D] rebuilt from texts alone."""


def statistics_of(reader: Reader) -> SiteStatistics | None:
    """The site's training statistics; None for a foreign checkpoint, which has no mean to take an FVE with."""
    return reader.statistics if getattr(reader, "has_statistics", True) else None
