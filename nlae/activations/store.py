"""Activations of one target at one site: Arrow shards that are mapped, not loaded.

A row keeps its unit direction (float16 by default: a raw vector of Gemma's scale would overflow it) and its norm, so
raw vectors can be recovered. Nothing here knows how the rows were made: see `nlae.activations.extraction`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.files.arrow import checksum, read_table, strings, write_text
from nlae.files.foreign import parse_json
from nlae.functional.scaling import SiteStatistics

LIST_FILE = "shards.json"
STATISTICS_FILE = "statistics.safetensors"
CONTEXT_TOKENS = 64
_REBUILD = "delete manifest.json beside it and run `nlae extract` with the same overrides; it redoes only this shard"
_CHECK_BYTES = 1 << 30  # above this, hashing would take longer than the user expects an open to take

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Shard:
    """One finished file: its name, what must be found in it, and how long the forward passes took (seconds)."""

    name: str
    rows: int
    bytes: int
    checksum: str
    tokens: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class ShardList:
    """The manifest of a store: `plan` identifies the intended list, `shards` is what of it is finished."""

    plan: str
    site: str
    min_position: int
    width: int
    dtype: str
    shards: tuple[Shard, ...] = ()
    total: int = 0

    def save(self, folder: Path) -> None:
        """Write `shards.json`, whole or not at all."""
        write_text(folder / LIST_FILE, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> ShardList | None:
        """Read `shards.json`; None where there is none.

        Raises:
            NlaeError: the file is not what `save` writes.
        """
        path = folder / LIST_FILE
        if not path.is_file():
            return None
        try:
            fields: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
            return cls(**{**fields, "shards": tuple(Shard(**shard) for shard in fields["shards"])})
        except (ValueError, TypeError, KeyError) as problem:
            raise NlaeError(f"{path} is damaged: delete its folder and run `nlae extract` again") from problem


class ActivationStore:
    """All rows of one target and site, over the shards of a folder.

    Attributes:
        folder: where it lies.
        site: name of the site, such as `resid.19`.
        width: numbers per activation.
        min_position: rows before this position are *early*: reported apart, never trained on.
    """

    def __init__(self, folder: Path, listing: ShardList, tables: Sequence[pa.Table]) -> None:
        self.folder = folder
        self.site, self.width, self.min_position = listing.site, listing.width, listing.min_position
        self._tables = list(tables)
        self._directions = [_directions(table, listing.width) for table in self._tables]
        sizes = [table.num_rows for table in self._tables]
        self._shard = np.repeat(np.arange(len(sizes)), sizes)
        self._offset = np.concatenate([np.arange(size) for size in sizes]) if sizes else np.zeros(0, np.int64)

    @classmethod
    def open(cls, folder: Path | str, verify: bool | None = None) -> ActivationStore:
        """Map the shards of `folder`.

        Args:
            folder: what `extract` wrote.
            verify: compare checksums; None means "if the store is smaller than a gigabyte". Sizes and row counts are
                always compared.

        Raises:
            NlaeError: no store there, an unfinished one, or a shard that is missing, truncated or damaged.
        """
        folder = Path(folder)
        listing = ShardList.load(folder)
        if listing is None or len(listing.shards) < listing.total:
            raise NlaeError(f"{folder} holds no finished activations: run `nlae extract` with the same overrides")
        if verify is None:
            verify = sum(shard.bytes for shard in listing.shards) < _CHECK_BYTES
        for shard in listing.shards:
            check_shard(folder, shard, verify)
        return cls(folder, listing, [read_table(folder / shard.name, _REBUILD) for shard in listing.shards])

    def __len__(self) -> int:
        return len(self._shard)

    @cached_property
    def statistics(self) -> SiteStatistics:
        """Mean, variance and α of the training rows."""
        return SiteStatistics.load(self.folder / STATISTICS_FILE)

    def split(self, name: str, early: bool | None = None) -> ActivationRows:
        """Rows of one split in ascending row number, whatever the order on disk.

        Args:
            name: `train`, `val` or `test`.
            early: None for all rows, False for those at `min_position` or later, True for the earlier ones.
        """
        keep = self.column("split") == name
        if early is not None:
            keep &= (self.column("position") < self.min_position) == early
        places = np.flatnonzero(keep)
        return ActivationRows(self, places[np.argsort(self.column("row")[places], kind="stable")])

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column over all shards, in disk order."""
        if name not in self._columns:
            named = name in ("source", "split")
            parts = [strings(table[name]) if named else table[name].to_numpy() for table in self._tables]
            self._columns[name] = np.concatenate(parts) if parts else np.zeros(0)
        return self._columns[name]

    def gather(self, places: Ints) -> Tensor:
        """Raw float32 vectors [len(places), width] at disk places."""
        out_BD = np.empty((len(places), self.width), dtype=np.float32)
        shards = self._shard[places]
        for shard in np.unique(shards):
            chosen = np.flatnonzero(shards == shard)
            out_BD[chosen] = self._directions[shard][self._offset[places[chosen]]]
        out_BD *= self.column("norm")[places, None]
        return torch.from_numpy(out_BD)

    def context(self, place: int) -> list[int]:
        """The last tokens up to and including the position, at most `CONTEXT_TOKENS`."""
        ids: list[int] = self._tables[self._shard[place]]["context_ids"][int(self._offset[place])].as_py()
        return ids

    @cached_property
    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        return {}


class ActivationRows:
    """A view of some rows of a store. Indices given to its methods count within the view.

    Attributes:
        row: int64[n], row numbers of the corpus.
        position, token_id, document: int64[n].
        source: object[n], the source work of each row.
        norm, resid_norm: float32[n].
        early: bool[n], position before the site's `min_position`.
    """

    def __init__(self, store: ActivationStore, places: Ints) -> None:
        self._store, self._places = store, places
        self.row: Ints = store.column("row")[places].astype(np.int64)
        self.position: Ints = store.column("position")[places].astype(np.int64)
        self.token_id: Ints = store.column("token_id")[places].astype(np.int64)
        self.document: Ints = store.column("document")[places].astype(np.int64)
        self.source: npt.NDArray[np.object_] = store.column("source")[places].astype(object)
        self.norm: npt.NDArray[np.float32] = store.column("norm")[places]
        self.resid_norm: npt.NDArray[np.float32] = store.column("resid_norm")[places]
        self.early: npt.NDArray[np.bool_] = self.position < store.min_position

    def __len__(self) -> int:
        return len(self._places)

    def activations(self, indices: Sequence[int] | Ints | Tensor) -> Tensor:
        """Raw float32 vectors [len(indices), width]: direction times norm."""
        return self._store.gather(self._places[np.asarray(indices, dtype=np.int64)])

    def all(self) -> Tensor:
        """Raw float32 vectors of the whole view [n, width]; copies them into memory."""
        return self._store.gather(self._places)

    def batches(self, size: int) -> Iterator[tuple[Ints, Tensor]]:
        """Consecutive (indices, raw vectors) of at most `size` rows: for passes that must not load everything."""
        for start in range(0, len(self), size):
            indices = np.arange(start, min(start + size, len(self)))
            yield indices, self.activations(indices)

    def context_ids(self, index: int) -> list[int]:
        """The last tokens up to and including the row's position, at most 64."""
        return self._store.context(int(self._places[index]))

    def as_they_lie(self) -> ActivationRows:
        """The same rows in disk order: for passes over more than fits into memory."""
        return ActivationRows(self._store, np.sort(self._places))

    def select(self, chosen: npt.ArrayLike) -> ActivationRows:
        """A smaller view: a boolean mask or indices over this one."""
        return ActivationRows(self._store, self._places[np.asarray(chosen)])


def store_folders(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Where the stores of these sites lie: of one site in `folder` itself, of several under their names."""
    return {name: folder if len(names) == 1 else folder / name for name in names}


def open_stores(folder: Path, names: Sequence[str]) -> dict[str, ActivationStore]:
    """The activations of one extraction by the name of their site.

    Raises:
        NlaeError: one is missing or damaged.
    """
    return {name: ActivationStore.open(place) for name, place in store_folders(folder, names).items()}


def check_shard(folder: Path, shard: Shard, verify: bool) -> None:
    """Compare a shard's file with its entry in the list.

    Raises:
        NlaeError: it is missing or differs in size or, with `verify`, in content.
    """
    path = folder / shard.name
    if not path.is_file():
        raise NlaeError(f"{path} is missing: {_REBUILD}")
    size = path.stat().st_size
    if size != shard.bytes:
        raise NlaeError(f"{path} is truncated ({size} of {shard.bytes} bytes): {_REBUILD}")
    if verify and checksum(path) != shard.checksum:
        raise NlaeError(f"{path} is damaged (its checksum differs from {LIST_FILE}): {_REBUILD}")


def _directions(table: pa.Table, width: int) -> npt.NDArray[Any]:
    """The direction column as [rows, width]; one chunk, as shards are written, stays in the memory map."""
    parts = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, width) for chunk in table["direction"].chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros((0, width), np.float32), *parts])
