"""What an evaluation needs of an autoencoder: ours, the reference's, or a fake with known answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from nlae.functional.scaling import SiteStatistics
from nlae.model.site_autoencoder import Explanation

Reader = Callable[[list[str]], Tensor]
"""Texts to unit vectors (N, D), float32."""


class RoundTrip(Protocol):
    """The part of an autoencoder at one site that is measured.

    Also read where present: `statistics` and `has_statistics`, `target`, `reconstructor`, `reconstruct_norm`,
    `read_empty`, `backbone`, `activations`, `meta`.
    """

    def verbalize(
        self,
        activation_ND: Tensor,
        *,
        seeds: Sequence[int],
        temperature: float = 1.0,
        batch_size: int | None = None,
        inject: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Sequence[Explanation]:
        """One explanation per raw activation."""
        ...

    def reconstruct(
        self, texts: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], None] | None = None
    ) -> Tensor:
        """Unit vectors (N, D) in float32; an empty text gives μ/‖μ‖."""
        ...


class FitReader(Protocol):
    """Trains a fresh reader of the reconstructor's architecture."""

    def __call__(
        self,
        autoencoder: Any,
        texts_fn: Callable[[int], list[str]],
        activation_fn: Callable[[int], Tensor],
        *,
        updates: int,
        batch_size: int,
        lr: float,
        seed: int,
        progress: Callable[[int], None] | None = None,
    ) -> Reader:
        """Texts and raw activations of update u come from `texts_fn(u)` and `activation_fn(u)`."""
        ...


class Contexts(Protocol):
    """The part of `Corpus` that is used here."""

    def context_ids(self, row: int) -> list[int]:
        """Token ids up to and including the row's position."""
        ...

    def next_id(self, row: int) -> int | None:
        """The token after it; None where the text ends there."""
        ...


def statistics_of(autoencoder: RoundTrip) -> SiteStatistics | None:
    """The checkpoint's training statistics; None for a foreign one that came without them."""
    if not getattr(autoencoder, "has_statistics", True):
        return None
    statistics = getattr(autoencoder, "statistics", None)
    return statistics if isinstance(statistics, SiteStatistics) else None


def meta_of(autoencoder: RoundTrip) -> Mapping[str, Any]:
    """What the checkpoint says about itself; empty where it says nothing."""
    meta = getattr(autoencoder, "meta", None)
    return meta if isinstance(meta, Mapping) else {}
