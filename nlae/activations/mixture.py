"""Batches of a mixture: which site an update is about is a function of (seed, stage, update), as the rows are.

All sites' stores hold the same rows, so one choice of rows serves every site. Sites come in shuffled rounds: after as
many updates as there are sites, each has had one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nlae.activations import ActivationRows, ActivationStore
from nlae.activations.datamodule import ActivationDataModule, Batch, UpdateLoader, batch_rows, make_batch
from nlae.errors import NlaeError


@dataclasses.dataclass(frozen=True)
class SiteBatch(Batch):
    """Rows of one update, at one site.

    Attributes:
        site: its name.
    """

    site: str = ""


@dataclasses.dataclass(frozen=True)
class MixtureBatch:
    """Rows of one update, at several sites.

    Attributes:
        update: which update this batch belongs to.
        activations: raw float32 activations (B, width) by site name; the same rows at all of them.
        row_B: row numbers of the corpus, int64.
        explanation: the teacher's text per row.
    """

    update: int
    activations: dict[str, Tensor]
    row_B: Tensor
    explanation: list[str]

    def to(self, device: torch.device | str, **kwargs: Any) -> MixtureBatch:
        """The same batch on another device; Lightning calls this."""
        moved = {name: x_BD.to(device, **kwargs) for name, x_BD in self.activations.items()}
        return dataclasses.replace(self, activations=moved, row_B=self.row_B.to(device, **kwargs))


def draw_sites(names: Sequence[str], count: int, *, seed: int, stage: str, update: int) -> list[str]:
    """Sites of one update in the mixture's order: `count` of them (fewer where two rounds meet in one update)."""
    drawn = batch_rows(len(names), seed=seed, stage=f"{stage}/sites", update=update, batch_size=min(count, len(names)))
    return [names[i] for i in np.unique(drawn)]


class MixtureDataModule(ActivationDataModule):
    """Serves all sites of a mixture to one objective; the views are those of `ActivationDataModule`.

    `warmstart` items are `{"verbalizer": SiteBatch, "reconstructor": MixtureBatch}`, `rollout` items `SiteBatch`.

    Args:
        store: folder with one store for each site, under the site's name.
        sites: names of the sites.
        reader_sites: sites that the reconstructor learns at in one update of `warmstart`; None for all.
        validation_sites: sites that curves are drawn on, spread over the mixture.
        validation_rows: in all; each of those sites gets its share.
        **shared: see `ActivationDataModule`.
    """

    def __init__(
        self,
        *,
        store: Path | str,
        sites: Sequence[str],
        reader_sites: int | None = None,
        validation_sites: int = 4,
        validation_rows: int | None = 256,
        **shared: Any,
    ) -> None:
        self.sites = tuple(sites)
        chosen = np.unique(np.linspace(0, len(self.sites) - 1, validation_sites).round().astype(int))
        self.validation_sites = [self.sites[i] for i in chosen]
        share = None if validation_rows is None else max(8, validation_rows // len(chosen))
        super().__init__(store=Path(store) / self.sites[0], validation_rows=share, **shared)
        self.folder = Path(store)
        self.reader_sites = len(self.sites) if reader_sites is None else reader_sites

    @cached_property
    def stores(self) -> dict[str, ActivationStore]:
        """The store of each site."""
        return {name: ActivationStore.open(self.folder / name) for name in self.sites}

    def setup(self, stage: str | None = None) -> None:
        """Open the files and choose the rows, at all sites; later calls do nothing."""
        if self.streams:
            return
        super().setup(stage)
        self.rows_at = {
            stream: {name: self._same(rows, name, "train") for name in self.sites}
            for stream, (rows, _) in self.streams.items()
        }
        self.validation_at = {name: self._same(self.validation, name, "val") for name in self.validation_sites}

    def train_dataloader(self) -> DataLoader[Any]:
        """One item per update from `start_update` to `max_updates`."""
        self.setup()
        return UpdateLoader(_Updates(self), self.start_update, workers=self.workers)

    def item(self, update: int) -> Any:
        """The batch or batches of one update."""
        if self.view == "rollout":
            return self._at_site("", update)
        return {"verbalizer": self._at_site("verbalizer", update), "reconstructor": self._at_many(update)}

    def _at_site(self, stream: str, update: int) -> SiteBatch:
        stage = f"{self.stage}/{stream}" if stream else self.stage
        (site,) = draw_sites(self.sites, 1, seed=self.seed, stage=stage, update=update)
        rows = self.rows_at[stream][site]
        batch = make_batch(rows, self._indices(stream, update), update, self.descriptions)
        return SiteBatch(**vars(batch), site=site)

    def _at_many(self, update: int) -> MixtureBatch:
        stream = "reconstructor"
        names = draw_sites(self.sites, self.reader_sites, seed=self.seed, stage=f"{self.stage}/{stream}", update=update)
        indices, by_site = self._indices(stream, update), self.rows_at[stream]
        row_B = by_site[names[0]].row[indices]
        assert self.descriptions is not None
        return MixtureBatch(
            update,
            {name: by_site[name].activations(indices) for name in names},
            torch.from_numpy(row_B),
            [self.descriptions.text(int(number)) for number in row_B],
        )

    def _indices(self, stream: str, update: int) -> Any:
        rows, size = self.streams[stream]
        stage = f"{self.stage}/{stream}" if stream else self.stage
        return batch_rows(len(rows), seed=self.seed, stage=stage, update=update, batch_size=size)

    def _same(self, rows: ActivationRows, name: str, split: str) -> ActivationRows:
        """The same rows at another site.

        Raises:
            NlaeError: it lacks some of them.
        """
        other = self.stores[name].split(split, early=False)
        found = other.select(np.isin(other.row, rows.row))
        if not np.array_equal(found.row, rows.row):
            raise NlaeError(f"{self.folder / name} holds other rows than the mixture's other sites: extract it again")
        return found


class _Updates(Dataset[Any]):
    """Item i is that of update i."""

    def __init__(self, module: MixtureDataModule) -> None:
        self.module = module

    def __len__(self) -> int:
        return self.module.max_updates

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.module.item(index)


def mean_over_sites(by_site: Mapping[str, Mapping[str, float]], headline: str) -> dict[str, float]:
    """Each figure's mean over the sites that have it, and `headline` itself for every site."""
    keys = dict.fromkeys(key for figures in by_site.values() for key in figures)
    found = {key: float(np.mean([figures[key] for figures in by_site.values() if key in figures])) for key in keys}
    return found | {f"{headline}/{site}": figures[headline] for site, figures in by_site.items()}
