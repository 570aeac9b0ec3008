"""The rows that are measured and all that is known of them: what every measure is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlae.activations import ActivationRows, ActivationStore, Descriptions
from nlae.errors import NlaeError
from nlae.evaluation import round_trip
from nlae.evaluation.base import Contexts, RoundTrip, statistics_of
from nlae.evaluation.controls import TrainingSummary, summarise
from nlae.evaluation.fidelity import Scoreboard
from nlae.evaluation.quotes import QuoteReader
from nlae.evaluation.round_trip import Sampling
from nlae.evaluation.sampling import derangement, stratified
from nlae.functional.reconstruction import unit
from nlae.functional.scaling import SiteStatistics
from nlae.model.site_autoencoder import Explanation

MASSIVE = 10.0
EARLY_SHARE = 4


@dataclasses.dataclass
class EvaluationRecord:
    """One autoencoder on one choice of test rows. What costs something is made on first use and then kept.

    Attributes:
        autoencoder: what is measured.
        store: activations of all splits.
        folder: where files go; explanations are kept there as they are written.
        seed: of the sampling noise, which is a function of (seed, "evaluate", row).
        corpus: for contexts longer than the store's 64 tokens; or None.
        descriptions: the teacher's texts; or None.
        max_rows: test rows at or after the site's first position, at most; None takes all.
        fit_rows: validation rows, and training rows, that a measure may fit something on.
        sample_seed: draws rows, pairings and resamples.
        resamples: of the bootstrap.
        min_clusters: with fewer source works there is no interval.
        batch_size: rows verbalised or read together.
        errors: ‖ĥ−ĥ'‖² of each measured row by what predicted it, NaN where it predicted nothing: columns `error_*` of
            `rows.parquet`.
        columns: further columns of `rows.parquet`, a value for each measured row.
        quote_reader: reads quotes, once the frontier has trained it.
    """

    autoencoder: RoundTrip
    store: ActivationStore
    folder: Path
    seed: int = 0
    corpus: Contexts | None = None
    descriptions: Descriptions | None = None
    max_rows: int | None = 2000
    fit_rows: int = 256
    sample_seed: int = 0
    resamples: int = 2000
    min_clusters: int = 30
    batch_size: int = 64
    errors: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)
    quote_reader: QuoteReader | None = None

    @cached_property
    def statistics(self) -> SiteStatistics | None:
        """The checkpoint's own training statistics."""
        return statistics_of(self.autoencoder)

    @cached_property
    def rows(self) -> ActivationRows:
        """Test rows that are measured: the main ones, and a quarter as many early ones."""
        limit = self.max_rows
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
        return rows.select(stratified(rows.source.tolist(), limit, self.sample_seed, self.min_clusters))

    @cached_property
    def raw_ND(self) -> Tensor:
        """Raw activations of the measured rows."""
        return self.rows.all()

    @cached_property
    def context_ids(self) -> list[list[int]]:
        """Tokens up to and including each measured row's position: the last 64, which is what the store keeps."""
        return [self.rows.context_ids(i) for i in range(len(self.rows))]

    @cached_property
    def contexts(self) -> list[str]:
        """The same as text."""
        return [self.decode(ids) for ids in self.context_ids]

    def decode(self, ids: list[int]) -> str:
        """Text of tokens; their numbers where the checkpoint comes without its target's tokenizer."""
        tokenizer = getattr(getattr(self.autoencoder, "target", None), "tokenizer", None)
        if tokenizer is None:
            return " ".join(map(str, ids))
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def draw(self, limit: int | None) -> Tensor:
        """At most `limit` of the main rows, in proportion to their source works; bool [N]."""
        main = np.flatnonzero(self.main_N.numpy())
        chosen = stratified(self.rows.source[main].tolist(), limit, self.sample_seed, self.min_clusters)
        keep_N = torch.zeros(len(self.rows), dtype=torch.bool)
        keep_N[main[chosen]] = True
        return keep_N

    def partners(self, keep_N: Tensor) -> Tensor | None:
        """A shuffled pairing: for each kept row another one, of another source work if it can be, int64 [N].

        A row that is not kept is its own partner. None where one document holds more than half of the rows.
        """
        kept = np.flatnonzero(keep_N.numpy())
        for group in (self.rows.source[kept].astype(str), self.rows.document[kept]):
            partner = derangement(group, self.sample_seed)
            if partner is not None:
                pairing = np.arange(len(keep_N))
                pairing[kept] = kept[partner]
                return torch.from_numpy(pairing)
        return None

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
            seed=self.sample_seed,
            resamples=self.resamples,
            min_clusters=self.min_clusters,
        )

    @cached_property
    def training_rows(self) -> ActivationRows:
        """Training rows at or after the site's first position."""
        rows = self.store.split("train", early=False)
        if not len(rows):
            raise NlaeError(f"{self.store.folder} has no training rows: the controls need some; use more documents")
        return rows

    @cached_property
    def training(self) -> TrainingSummary:
        """What the controls know of the training rows."""
        mean_D = None if self.statistics is None else self.statistics.mean_D
        return summarise(self.training_rows, self.rows.token_id, mean_D)

    @cached_property
    def constant_D(self) -> Tensor:
        """μ/‖μ‖: what an empty explanation says."""
        return self.training.constant(1)[0]

    @cached_property
    def empty_D(self) -> Tensor | None:
        """What the reconstructor itself makes of empty text, unit; None for one that does not show it."""
        read = getattr(self.autoencoder, "read_empty", None)
        return None if read is None else unit(read().float().cpu()[None])[0]

    @cached_property
    def wordless(self) -> list[Tensor]:
        """‖ĥ−ĥ'‖² of what can be said of each measured row without a word: by the mean, and by the reader itself."""
        constants = [self.constant_D, *([] if self.empty_D is None else [self.empty_D])]
        return [self.board.error(constant_D.expand(len(self.rows), -1)) for constant_D in constants]

    def baseline(self, keep_N: Tensor) -> Tensor:
        """The errors of whichever wordless answer is better over the rows kept: what a gain is counted from."""
        return better(self.wordless, keep_N)

    def write(self, rows: ActivationRows, name: str, **how: Any) -> list[Explanation]:
        """Explanations of `rows`, one seed per row; kept under `name`."""
        sampling = Sampling(name, self.seed, batch_size=self.batch_size, **how)
        return round_trip.write(self.autoencoder, rows, sampling, self.folder)

    def read(self, texts: list[str], name: str) -> Tensor:
        """Unit vectors that the reconstructor makes of `texts`, [N, D]."""

        def reader(part: list[str]) -> Tensor:
            return self.autoencoder.reconstruct(part, batch_size=self.batch_size)

        return round_trip.read(reader, texts, self.constant_D, self.batch_size, name)

    def read_quotes(self, lengths: Sequence[int], keep_N: Tensor, name: str) -> Tensor | None:
        """What the frontier's reader makes of the last tokens of the kept rows' contexts: unit vectors [K, D].

        Args:
            lengths: tokens quoted of each kept row, at most what the reader was trained on.
            keep_N: rows that are read.
            name: for the bar.

        Returns:
            None without such a reader.
        """
        if self.quote_reader is None:
            return None
        contexts = [ids for ids, kept in zip(self.context_ids, keep_N.tolist(), strict=True) if kept]
        texts = self.quote_reader.quotes(contexts, lengths)
        return round_trip.read(self.quote_reader.read, texts, self.constant_D, self.batch_size, name)

    @cached_property
    def explanations(self) -> list[Explanation]:
        """Sampled explanations of the measured rows, at temperature 1."""
        return self.write(self.rows, "sampled")

    @cached_property
    def texts(self) -> list[str]:
        """Their texts."""
        return [one.text for one in self.explanations]

    @cached_property
    def lengths(self) -> tuple[Tensor, int] | None:
        """Tokens the reconstructor reads for each explanation, float64 [N], and those it reads for no text at all."""
        return round_trip.read_lengths(self.autoencoder, self.texts)

    @cached_property
    def pred_ND(self) -> Tensor:
        """What the reconstructor makes of the explanations: unit vectors."""
        return self.read(self.texts, "explanations")

    @cached_property
    def error_N(self) -> Tensor:
        """‖ĥ−ĥ'‖² of each measured row."""
        return self.board.error(self.pred_ND)

    def put_control(self, name: str, error_N: Tensor, keep_N: Tensor | None = None) -> None:
        """Put `control/<name>` with its gap to the round trip over the rows kept (the main ones), and keep its errors.

        Args:
            name: of the control.
            error_N: ‖ĥ−ĥ'‖² of what it predicts of every measured row.
            keep_N: rows that it is about.
        """
        keep_N = self.main_N if keep_N is None else keep_N
        self.errors[name] = torch.where(keep_N, error_N, torch.full_like(error_N, float("nan")))
        self.board.add_control(f"control/{name}", error_N, self.error_N, keep_N)


def better(errors: Sequence[Tensor], keep_N: Tensor) -> Tensor:
    """Those errors whose sum over the rows kept is least."""
    return min(errors, key=lambda error_N: float(error_N[keep_N].sum()))
