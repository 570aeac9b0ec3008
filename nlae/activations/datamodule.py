"""Batches for training, in an order that is a pure function of (seed, stage, update).

No sampler state and no worker state: a resume at update u needs nothing but u. All sites' stores hold the same rows, so
one choice of rows serves every site; which sites an update is about comes in shuffled rounds: after as many updates as
there are sites, each has had one. Early positions (before the site's `min_position`) are never trained on. Text is left
as strings; tokenising is the business of the prompt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nlae.activations import ActivationRows, ActivationStore, Descriptions
from nlae.activations.order import batch_rows, draw_sites, permutation, split_documents
from nlae.activations.store import open_stores
from nlae.errors import NlaeError

View = Literal["verbalizer", "reconstructor", "rollout"]
VERBALIZER, RECONSTRUCTOR, ROLLOUT = "verbalizer", "reconstructor", ""  # streams of batches
STREAMS = {
    "verbalizer": (VERBALIZER,),
    "reconstructor": (RECONSTRUCTOR,),
    "rollout": (ROLLOUT,),
}


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of one update, at one site or several.

    Attributes:
        update: which update this batch belongs to.
        activations: raw float32 activations (B, width) by site name; the same rows at all of them.
        row_B: row numbers of the corpus, int64.
        token_id_B: the token at each row's position, int64.
        context_ids: tokens up to and including each row's position, the last 64 of them.
        explanation: the teacher's text per row, or None where the view has no text.
    """

    update: int
    activations: dict[str, Tensor]
    row_B: Tensor
    token_id_B: Tensor
    context_ids: list[list[int]]
    explanation: list[str] | None = None

    def __len__(self) -> int:
        return len(self.row_B)

    @property
    def site(self) -> str:
        """Name of the only site."""
        (name,) = self.activations
        return name

    @property
    def activation_BD(self) -> Tensor:  # a shape, as elsewhere
        """Raw activations of the only site."""
        return self.activations[self.site]

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """The same batch on another device; Lightning calls this."""
        return dataclasses.replace(
            self,
            activations={name: x_BD.to(device, **kwargs) for name, x_BD in self.activations.items()},
            row_B=self.row_B.to(device, **kwargs),
            token_id_B=self.token_id_B.to(device, **kwargs),
        )


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
    """Serves the activations of one target, at one site or several, to one fit.

    Views:
        `verbalizer`, `reconstructor`: each item is a `Batch` with text, of one site and of `reader_sites` sites; with
            `disjoint_documents` no document feeds both.
        `rollout`: each item is a `Batch` of one site over all training rows, with text only where descriptions are
            given.

    Args:
        store: folder of the activations.
        view: see above.
        seed: training seed.
        stage: name of the stage; part of the order's seed.
        max_updates: updates in all.
        sites: names of the sites; None is the only one that `store` holds.
        start_update: first update to serve; may be set until the loader is made.
        batch_size: rows per update.
        descriptions: folder of the teacher's texts; optional for `rollout`, needed by all others.
        disjoint_documents: split documents between verbalizer and reconstructor.
        reader_sites: sites that the reconstructor learns at in one update; None for all.
        validation_rows: how many validation rows to keep in `validation`, chosen by seed; None for all.
        validation_sites: sites that share those rows, spread over all of them.
        workers: loader processes; 0 reads in the training process, which the memory map makes cheap.

    Raises (in `setup`):
        NlaeError: nothing to train on, or sites that hold other rows.
    """

    def __init__(
        self,
        *,
        store: Path | str,
        view: View,
        seed: int,
        stage: str,
        max_updates: int,
        sites: Sequence[str] | None = None,
        start_update: int = 0,
        batch_size: int = 32,
        descriptions: Path | str | None = None,
        disjoint_documents: bool = True,
        reader_sites: int | None = None,
        validation_rows: int | None = 256,
        validation_sites: int = 4,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.store_folder, self.view, self.seed, self.stage = Path(store), view, seed, stage
        self.max_updates, self.start_update = max_updates, start_update
        self.batch_size = batch_size
        self.sites = None if sites is None else tuple(sites)
        self.descriptions_folder = None if descriptions is None else Path(descriptions)
        self.disjoint, self.reader_sites, self.workers = disjoint_documents, reader_sites, workers
        self.validation_rows, self.validation_sites = validation_rows, validation_sites
        self.streams: dict[str, dict[str, ActivationRows]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Open the files and choose the rows, at all sites; later calls do nothing."""
        if self.streams:
            return
        if self.sites is None:
            self.sites = (ActivationStore.open(self.store_folder).site,)
        self.stores = open_stores(self.store_folder, self.sites)
        self.descriptions = self._descriptions()
        train = self._rows("train")
        halves = {ROLLOUT: train, VERBALIZER: train, RECONSTRUCTOR: train}
        if self.disjoint and self.view != "rollout":
            halves[VERBALIZER], halves[RECONSTRUCTOR] = split_documents(train, self.seed)
        for name in STREAMS[self.view]:
            if not len(halves[name]):
                raise NlaeError(
                    f"{self.store_folder} has no rows {f'left for the {name} ' if name else ''}in view {self.view}: "
                    "raise corpus.max_documents or set data.disjoint_documents=false"
                )
        at = np.unique(np.linspace(0, len(self.sites) - 1, self.validation_sites).round().astype(int))
        share = self.validation_rows
        if share is not None and len(at) > 1:
            share = max(8, share // len(at))
        held = self._sample(self._rows("val"), share)
        self.validation = {self.sites[i]: self._same(held, self.sites[i], "val") for i in at}
        self.streams = {
            stream: {site: self._same(halves[stream], site, "train") for site in self.sites}
            for stream in STREAMS[self.view]
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """One item per update from `start_update` to `max_updates`."""
        self.setup()
        return UpdateLoader(_Updates(self), self.start_update, workers=self.workers)

    def item(self, update: int) -> Batch:
        """The batch of one update."""
        (batch,) = (self._batch(stream, update) for stream in self.streams)
        return batch

    def _batch(self, stream: str, update: int) -> Batch:
        by_site, stage = self.streams[stream], f"{self.stage}/{stream}" if stream else self.stage
        names, count = list(by_site), 1
        if stream == RECONSTRUCTOR:
            count = len(names) if self.reader_sites is None else self.reader_sites
        names = draw_sites(names, count, seed=self.seed, stage=stage, update=update)
        rows = by_site[names[0]]
        at = batch_rows(len(rows), seed=self.seed, stage=stage, update=update, batch_size=self.batch_size)
        row, texts = rows.row[at], self.descriptions
        return Batch(
            update=update,
            activations={name: by_site[name].activations(at) for name in names},
            row_B=torch.from_numpy(row),
            token_id_B=torch.from_numpy(rows.token_id[at]),
            context_ids=[rows.context_ids(int(index)) for index in at],
            explanation=None if texts is None else [texts.text(int(number)) for number in row],
        )

    def _descriptions(self) -> Descriptions | None:
        if self.descriptions_folder is None:
            if self.view == "rollout":
                return None
            raise NlaeError("the warm start needs the teacher's texts: run `nlae describe` with the same overrides")
        return Descriptions.open(self.descriptions_folder)

    def _rows(self, split: str) -> ActivationRows:
        """Rows of a split, those with a text where there are texts, at the first site."""
        rows = next(iter(self.stores.values())).split(split, early=False)
        return rows if self.descriptions is None else rows.select(np.isin(rows.row, self.descriptions.rows))

    def _same(self, rows: ActivationRows, site: str, split: str) -> ActivationRows:
        """The same rows at another site.

        Raises:
            NlaeError: it lacks some of them.
        """
        other = self.stores[site].split(split, early=False)
        found = other.select(np.isin(other.row, rows.row))
        if not np.array_equal(found.row, rows.row):
            raise NlaeError(f"{self.stores[site].folder} holds other rows than the other sites: extract it again")
        return found

    def _sample(self, rows: ActivationRows, limit: int | None) -> ActivationRows:
        if limit is None or len(rows) <= limit:
            return rows
        return rows.select(np.sort(permutation(len(rows), self.seed, "validation", 0)[:limit]))


class _Updates(Dataset[Any]):
    """Item i is that of update i."""

    def __init__(self, module: ActivationDataModule) -> None:
        self.module = module

    def __len__(self) -> int:
        return self.module.max_updates

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.module.item(index)
