"""A store on disk with known structure, and an autoencoder whose answers are known.

The fake writes the row's index into its text and looks it up again: what it knows is exact, so every figure has a value
that can be computed by hand.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlae.activations import ActivationStore, Rows, ShardList, fit_statistics, write_shard
from nlae.functional.scaling import SiteStatistics, unit

WIDTH, WORKS, PER_WORK, FIRST = 12, 120, 8, 4
TOKENS = 6


def truth(n: int = WORKS * PER_WORK) -> Tensor:
    """Raw vectors: a common direction, one per token id, and noise; norms around 20."""
    source = torch.Generator().manual_seed(0)
    token = torch.arange(n) % TOKENS
    kinds = torch.randn(TOKENS, WIDTH, generator=source)
    direction = unit(2 * torch.eye(WIDTH)[0] + kinds[token] + 0.7 * torch.randn(n, WIDTH, generator=source))
    return direction * (20 + torch.rand(n, 1, generator=source))


def split_of(work: int) -> str:
    return ("train", "test", "val")[work % 3]


def build_store(folder: Path, works: int = WORKS) -> ActivationStore:
    n = works * PER_WORK
    raw = truth(n)
    number = np.arange(n)
    work, place = number // PER_WORK, number % PER_WORK
    # the first two rows of a work are early, the rest spread up to position 50
    position = np.where(place < 2, 1 + place, place * 7 + 1)
    rows = Rows(
        row=number,
        document=work,
        position=position,
        token_id=number % TOKENS,
        source=[f"work {w}" for w in work],
        split=[split_of(int(w)) for w in work],
        context_ids=[[(i + j) % 90 + 5 for j in range(min(64, p + 1))] for i, p in enumerate(position.tolist())],
        activation=raw.numpy(),
        resid_norm=raw.norm(dim=-1).numpy(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    shard = write_shard(folder, "shard-00000.arrow", rows, "float32")
    fit_statistics(folder, ShardList("plan", "resid.0", FIRST, WIDTH, "float32", (shard,), 1))
    return ActivationStore.open(folder)


def build_passages(folder: Path, works: int = WORKS, length: int = 80) -> ActivationStore:
    """Works of three passages of four rows, whose tokens are drawn at random: no two passages share many."""
    rng = np.random.default_rng(0)
    positions = np.array([10, 30, 66, length - 1])
    ids = rng.integers(100, 2000, (works * 3, length))
    number = np.arange(works * 12)
    ids[:, positions] = 5 + number.reshape(-1, 4) % TOKENS  # as `truth` has it
    document, position = number // 4, positions[number % 4]
    raw = truth(len(number))
    rows = Rows(
        row=number,
        document=document,
        position=position,
        token_id=ids[document, position],
        source=[f"work {n // 12}" for n in number],
        split=[split_of(int(n) // 12) for n in number],
        context_ids=[ids[d, max(0, p - 63) : p + 1].tolist() for d, p in zip(document, position, strict=True)],
        activation=raw.numpy(),
        resid_norm=raw.norm(dim=-1).numpy(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    shard = write_shard(folder, "shard-00000.arrow", rows, "float32")
    fit_statistics(folder, ShardList("plan", "resid.0", FIRST, WIDTH, "float32", (shard,), 1))
    return ActivationStore.open(folder)


@dataclasses.dataclass(frozen=True)
class Said:
    text: str
    closed: bool
    n_tokens: int


class Tokens:
    """One word per id."""

    bos_token_id = 1

    def decode(self, ids: Sequence[int], **how: Any) -> str:
        return " ".join(f"t{i}" for i in ids)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [len(word) + 5 for word in text.split()]


class FakeReconstructor:
    """Reads two template tokens and one per word."""

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        lengths = [2 + len(text.split()) for text in texts]
        mask = torch.zeros(len(texts), max(lengths), dtype=torch.long)
        for i, length in enumerate(lengths):
            mask[i, :length] = 1
        return mask, mask


@dataclasses.dataclass
class FakeTarget:
    tokenizer: Tokens


class FakeAutoencoder:
    """Knows all vectors; `noise` is added to what it rebuilds, and `blind` makes it say the same of everything."""

    def __init__(
        self, raw: Tensor, statistics: SiteStatistics | None, *, noise: float = 0.0, blind: bool = False
    ) -> None:
        self.vectors = unit(raw)
        self.statistics = statistics
        self.noise, self.blind = noise, blind
        self.meta: dict[str, Any] = {}
        self.target = FakeTarget(Tokens())
        self.reconstructor = FakeReconstructor()
        self.calls = 0

    def verbalize(
        self,
        activation_ND: Tensor,
        *,
        seeds: Sequence[int],
        temperature: float = 1.0,
        batch_size: int | None = None,
        inject: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> list[Said]:
        self.calls += 1
        if progress is not None:
            progress(len(activation_ND))
        if not inject or self.blind:
            return [Said("", False, 4) for _ in seeds]
        index = (unit(activation_ND) @ self.vectors.T).argmax(dim=1).tolist()
        shift = [seed % 1000 if temperature else 0 for seed in seeds]
        return [Said(f"row {i} noise {s}", i % 4 != 0, 6) for i, s in zip(index, shift, strict=True)]

    def reconstruct(
        self, texts: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], None] | None = None
    ) -> Tensor:
        return torch.stack([self._one(text) for text in texts])

    def read_empty(self) -> Tensor:
        return self._one("")

    def _one(self, text: str) -> Tensor:
        said = re.match(r"row (\d+) noise (\d+)", text)
        if said is None or int(said[1]) >= len(self.vectors):
            mean = self.statistics.mean_D if self.statistics is not None else self.vectors.mean(0)
            return unit(mean)
        source = torch.Generator().manual_seed(int(said[2]))
        return unit(self.vectors[int(said[1])] + self.noise * torch.randn(WIDTH, generator=source))

    def activations(self, input_ids: list[list[int]]) -> list[Tensor]:
        # a stand-in for the trunk: the vector of the row whose number the last ids spell is not known, so the mean
        return [self.vectors[[i % len(self.vectors) for i in ids]] for ids in input_ids]


@pytest.fixture(scope="session")
def fakes() -> SimpleNamespace:
    """What test files need of this one; they cannot import it."""
    return SimpleNamespace(
        truth=truth, build_store=build_store, Said=Said, Autoencoder=FakeAutoencoder, WORKS=WORKS, TOKENS=TOKENS
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return build_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def passages(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """Works of several passages, for what compares a passage with another of its work."""
    return build_passages(tmp_path_factory.mktemp("passages"))
