"""The rows that are measured and what the autoencoder says of them: what all parts of an evaluation share."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlae.activations import ActivationRows, ActivationStore
from nlae.errors import NlaeError
from nlae.evaluation import round_trip
from nlae.evaluation.base import RoundTrip, statistics_of
from nlae.evaluation.controls import TrainingSummary, summarise
from nlae.evaluation.fidelity import Scoreboard
from nlae.evaluation.round_trip import Text, Voice
from nlae.evaluation.sampling import stratified
from nlae.evaluation.settings import EvaluationSettings
from nlae.functional.scaling import SiteStatistics

MASSIVE = 10.0
EARLY_SHARE = 4


@dataclasses.dataclass
class Subject:
    """One autoencoder on one choice of test rows.

    Attributes:
        autoencoder: what is measured.
        store: activations of all splits.
        folder: where explanations are kept as they are written.
        settings: how many rows, which parts.
        seed: of the sampling noise.
    """

    autoencoder: RoundTrip
    store: ActivationStore
    folder: Path
    settings: EvaluationSettings
    seed: int

    @cached_property
    def statistics(self) -> SiteStatistics | None:
        """The checkpoint's own training statistics."""
        return statistics_of(self.autoencoder)

    @cached_property
    def rows(self) -> ActivationRows:
        """Test rows that are measured: the main ones, and a quarter as many early ones."""
        limit = self.settings.max_rows
        chosen = [
            self.choose("test", limit),
            self.choose("test", None if limit is None else max(1, limit // EARLY_SHARE), early=True),
        ]
        if len(chosen[0]) < 2:
            raise NlaeError(
                f"{self.store.folder} has {len(chosen[0])} test rows at position {self.store.min_position} or later: "
                "use more documents or raise corpus.test_share"
            )
        test = self.store.split("test")
        return test.select(np.isin(test.row, np.concatenate([part.row for part in chosen])))

    def choose(self, split: str, limit: int | None, early: bool = False) -> ActivationRows:
        """At most `limit` rows of a split, in proportion to their source works."""
        rows = self.store.split(split, early=early)
        return rows.select(
            stratified(rows.source.tolist(), limit, self.settings.sample_seed, self.settings.min_clusters)
        )

    @cached_property
    def raw_ND(self) -> Tensor:
        """Raw activations of the measured rows."""
        return self.rows.all()

    @cached_property
    def main_N(self) -> Tensor:
        """Rows at or after the site's first position: what `fve` and the controls are about."""
        return torch.from_numpy(~self.rows.early)

    @cached_property
    def massive_N(self) -> Tensor:
        """Rows, early or not, whose norm is more than ten times the training median."""
        median = (self.statistics or self.store.statistics).norm_median
        return torch.from_numpy(self.rows.norm > MASSIVE * median)

    @cached_property
    def board(self) -> Scoreboard:
        """Where figures are put."""
        return Scoreboard(
            self.raw_ND,
            None if self.statistics is None else self.statistics.mean_D.cpu(),
            list(self.rows.source),
            seed=self.settings.sample_seed,
            resamples=self.settings.resamples,
            min_clusters=self.settings.min_clusters,
        )

    @cached_property
    def training(self) -> TrainingSummary:
        """What the controls know of the training rows."""
        rows = self.store.split("train", early=False)
        if not len(rows):
            raise NlaeError(f"{self.store.folder} has no training rows: the controls need some; use more documents")
        mean_D = None if self.statistics is None else self.statistics.mean_D
        most = max(self.settings.components)
        return summarise(rows, self.rows.token_id, most, self.settings.covariance_rows, mean_D)

    @cached_property
    def constant_D(self) -> Tensor:
        """μ/‖μ‖: what an empty explanation says."""
        return self.training.constant(1)[0]

    def write(self, rows: ActivationRows, name: str, **how: Any) -> list[Text]:
        """Explanations of `rows`, one seed per row; kept under `name`."""
        voice = Voice(name, self.seed, batch_size=self.settings.batch_size, **how)
        return round_trip.write(self.autoencoder, rows, voice, self.folder)

    def read(self, texts: list[str], name: str) -> Tensor:
        """Unit vectors that the reconstructor makes of `texts`, [N, D]."""

        def reader(part: list[str]) -> Tensor:
            return self.autoencoder.reconstruct(part, batch_size=self.settings.batch_size)

        return round_trip.read(reader, texts, self.constant_D, self.settings.batch_size, name)

    @cached_property
    def said(self) -> list[Text]:
        """Sampled explanations of the measured rows, at temperature 1."""
        return self.write(self.rows, "sampled")

    @cached_property
    def texts(self) -> list[str]:
        """Their texts."""
        return [one.text for one in self.said]

    @cached_property
    def pred_ND(self) -> Tensor:
        """What the reconstructor makes of them."""
        return self.read(self.texts, "explanations")

    @cached_property
    def error_N(self) -> Tensor:
        """‖ĥ−ĥ'‖² of each measured row."""
        return self.board.error(self.pred_ND)
