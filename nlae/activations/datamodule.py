"""Batches for the objectives, in an order that is a pure function of (seed, stage, update).

No sampler state and no worker state: a resume at update u needs nothing but u. Early positions (before the site's
`min_position`) are never trained on. Text is left as strings; tokenising is the business of the prompt.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nlae.activations import ActivationRows, ActivationStore, Descriptions
from nlae.errors import NlaeError

View = Literal["warmstart", "rollout"]
Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of one update.

    Attributes:
        update: which update this batch belongs to (for validation: which batch).
        activation_BD: raw float32 activations.
        row_B: row numbers of the corpus, int64.
        token_id_B: the token at each row's position, int64.
        context_ids: tokens up to and including each row's position, the last 64 of them.
        explanation: the teacher's text per row, or None where the view has no text.
    """

    update: int
    activation_BD: Tensor
    row_B: Tensor
    token_id_B: Tensor
    context_ids: list[list[int]]
    explanation: list[str] | None = None

    def __len__(self) -> int:
        return len(self.row_B)

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """The same batch on another device; Lightning calls this."""
        return dataclasses.replace(
            self,
            activation_BD=self.activation_BD.to(device, **kwargs),
            row_B=self.row_B.to(device, **kwargs),
            token_id_B=self.token_id_B.to(device, **kwargs),
        )


def batch_rows(n_rows: int, *, seed: int, stage: str, update: int, batch_size: int) -> Ints:
    """Indices int64[batch_size] of one update: epochs are permutations of all rows, cut into consecutive batches.

    A batch may straddle two epochs, so every row is seen equally often and all batches are full.
    """
    if n_rows < 1 or batch_size < 1 or update < 0:
        raise ValueError(f"need rows, a batch size and an update ≥ 0, got {n_rows}, {batch_size}, {update}")
    places = np.arange(update * batch_size, (update + 1) * batch_size)
    epochs = places // n_rows
    parts = [
        _permutation(n_rows, seed, stage, int(epoch))[places[epochs == epoch] % n_rows] for epoch in np.unique(epochs)
    ]
    return np.concatenate(parts)


def make_batch(rows: ActivationRows, indices: Ints, update: int, descriptions: Descriptions | None = None) -> Batch:
    """Gather the rows at `indices` (within the view) and, with `descriptions`, their texts."""
    row = rows.row[indices]
    return Batch(
        update=update,
        activation_BD=rows.activations(indices),
        row_B=torch.from_numpy(row),
        token_id_B=torch.from_numpy(rows.token_id[indices]),
        context_ids=[rows.context_ids(int(index)) for index in indices],
        explanation=None if descriptions is None else [descriptions.text(int(number)) for number in row],
    )


class UpdateDataset(Dataset[Any]):
    """Item i is the batch of update `start + i`; with several streams, a dict of batches keyed by their names."""

    def __init__(
        self,
        streams: Mapping[str, tuple[ActivationRows, int]],
        *,
        seed: int,
        stage: str,
        start: int,
        stop: int,
        descriptions: Descriptions | None = None,
    ) -> None:
        self.streams, self.seed, self.stage = dict(streams), seed, stage
        self.start, self.stop, self.descriptions = start, stop, descriptions

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __getitem__(self, index: int) -> Batch | dict[str, Batch]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        batches = {name: self._one(name, self.start + index) for name in self.streams}
        return batches[""] if set(batches) == {""} else batches

    def __iter__(self) -> Iterator[Batch | dict[str, Batch]]:
        return (self[index] for index in range(len(self)))

    def _one(self, name: str, update: int) -> Batch:
        rows, size = self.streams[name]
        stage = f"{self.stage}/{name}" if name else self.stage
        indices = batch_rows(len(rows), seed=self.seed, stage=stage, update=update, batch_size=size)
        return make_batch(rows, indices, update, self.descriptions)


class UpdateLoader(DataLoader[Any]):
    """One item per update; as long as the whole fit, wherever it starts, as Lightning counts from the first one.

    Args:
        dataset: item i is that of update i.
        start: first update to serve; what Lightning keeps in its checkpoint replaces it.
        workers: loader processes.
    """

    def __init__(self, dataset: Dataset[Any], start: int = 0, *, workers: int = 0) -> None:
        self.places = _From(len(dataset), start)  # type: ignore[arg-type]
        super().__init__(dataset, batch_size=None, sampler=self.places, num_workers=workers)
        self._served = start

    def __iter__(self) -> Any:
        for update, item in enumerate(super().__iter__(), self.places.start):
            self._served = update + 1
            yield item

    def state_dict(self) -> dict[str, int]:
        """The update that comes next."""
        return {"update": self._served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on at the update of `state`."""
        self.places.start = self._served = state["update"]


class _From(Sampler[int]):
    def __init__(self, length: int, start: int) -> None:
        self.length, self.start = length, start

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.length))


class ActivationDataModule(pl.LightningDataModule):
    """Serves one target and site to one objective.

    Views:
        `warmstart`: each item is `{"verbalizer": Batch, "reconstructor": Batch}`, both with text; with
            `disjoint_documents` no document feeds both.
        `rollout`: each item is a `Batch` over all training rows, with text only where descriptions are given.

    Args:
        store: folder of the activations.
        view: see above.
        seed: training seed.
        stage: name of the stage; part of the order's seed.
        max_updates: updates in all.
        start_update: first update to serve; may be set until the loader is made.
        batch_size: rows per update (`rollout`).
        verbalizer_batch, reconstructor_batch: rows per update for each role (`warmstart`).
        descriptions: folder of the teacher's texts; needed by `warmstart`, optional for `rollout`.
        disjoint_documents: split documents between verbalizer and reconstructor.
        validation_rows: how many validation rows to keep in `validation`, chosen by seed; None for all.
        validation_sites, reader_sites: of several sites (`MixtureDataModule`); one has no use for them.
        workers: loader processes; 0 reads in the training process, which the memory map makes cheap.

    Raises (in `setup`):
        NlaeError: nothing to train on.
    """

    def __init__(
        self,
        *,
        store: Path | str,
        view: View,
        seed: int,
        stage: str,
        max_updates: int,
        start_update: int = 0,
        batch_size: int = 32,
        verbalizer_batch: int | None = None,
        reconstructor_batch: int | None = None,
        descriptions: Path | str | None = None,
        disjoint_documents: bool = True,
        validation_rows: int | None = 256,
        validation_sites: int = 4,
        reader_sites: int | None = None,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.store_folder, self.view = Path(store), view
        self.seed, self.stage = seed, stage
        self.max_updates, self.start_update, self.batch_size = max_updates, start_update, batch_size
        self.verbalizer_batch = verbalizer_batch or batch_size
        self.reconstructor_batch = reconstructor_batch or batch_size
        self.descriptions_folder = None if descriptions is None else Path(descriptions)
        self.disjoint, self.workers = disjoint_documents, workers
        del validation_sites, reader_sites
        self.validation_rows = validation_rows
        self.streams: dict[str, tuple[ActivationRows, int]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Open the files and choose the rows; later calls do nothing."""
        if self.streams:
            return
        self.store = ActivationStore.open(self.store_folder)
        self.descriptions = self._descriptions()
        train = self._rows("train")
        if self.view == "rollout":
            self.streams = {"": (train, self.batch_size)}
        else:
            verbalizer, reconstructor = split_documents(train, self.seed) if self.disjoint else (train, train)
            self.streams = {
                "verbalizer": (verbalizer, self.verbalizer_batch),
                "reconstructor": (reconstructor, self.reconstructor_batch),
            }
        for name, (rows, _) in self.streams.items():
            if not len(rows):
                raise NlaeError(
                    f"{self.store_folder} has no rows {f'left for the {name} ' if name else ''}in view {self.view}: "
                    "raise corpus.max_documents or set data.disjoint_documents=false"
                )
        self.validation = self._sample(self._rows("val"))

    def train_dataloader(self) -> DataLoader[Any]:
        """One item per update from `start_update` to `max_updates`."""
        self.setup()
        dataset = UpdateDataset(
            self.streams,
            seed=self.seed,
            stage=self.stage,
            start=0,
            stop=self.max_updates,
            descriptions=self.descriptions,
        )
        return UpdateLoader(dataset, self.start_update, workers=self.workers)

    def _descriptions(self) -> Descriptions | None:
        if self.descriptions_folder is None:
            if self.view == "rollout":
                return None
            raise NlaeError("the warm start needs the teacher's texts: run `nlae describe` with the same overrides")
        return Descriptions.open(self.descriptions_folder)

    def _rows(self, split: str) -> ActivationRows:
        rows = self.store.split(split, early=False)
        return rows if self.descriptions is None else rows.select(np.isin(rows.row, self.descriptions.rows))

    def _sample(self, rows: ActivationRows) -> ActivationRows:
        if self.validation_rows is None or len(rows) <= self.validation_rows:
            return rows
        chosen = _permutation(len(rows), self.seed, "validation", 0)[: self.validation_rows]
        return rows.select(np.sort(chosen))


def split_documents(rows: ActivationRows, seed: int) -> tuple[ActivationRows, ActivationRows]:
    """Two views of about equal size that share no document."""
    documents = np.unique(rows.document)
    first = documents[_permutation(len(documents), seed, "disjoint", 0)[: -(-len(documents) // 2)]]
    chosen = np.isin(rows.document, first)
    return rows.select(chosen), rows.select(~chosen)


@lru_cache(maxsize=8)
def _permutation(n: int, seed: int, stage: str, epoch: int) -> Ints:
    key = int.from_bytes(hashlib.sha256(stage.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, key, epoch]).permutation(n)
