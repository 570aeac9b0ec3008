"""Other readers of the same words, and other words for the same reader.

* `cross/reader`: a reconstructor of another seed, fitted on the verbalizer's explanations of training rows. A code that
  only the pair shares is lost on it; whatever can be learned from the texts is not.
* `cross/lens`: the same, fitted on and reading *logit-lens words* in place of explanations, `cross/lens_gap` the FVE by
  which explanations beat them: what a verbalizer says beyond what the unembedding names for nothing.
* `cross/other_base`: another family's base with a ridge map on top (`nlae.evaluation.other_base`).

Beside each stands `_null`, the same readings paired with rows of other works. For readers of the explanations `_kept`
is (FVE of the reader − b) / (FVE − b) as in `kept`.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from nlae.activations import ActivationRows
from nlae.errors import NlaeError
from nlae.evaluation.base import FitReader, meta_of
from nlae.evaluation.budget import ReaderBudget, reader_budget
from nlae.evaluation.lens import lens_words
from nlae.evaluation.other_base import OtherBase
from nlae.evaluation.own_texts import fit_texts, own_texts
from nlae.evaluation.record import EvaluationRecord
from nlae.evaluation.round_trip import read
from nlae.functional.reconstruction import unit
from nlae.target import Target


class Source(Protocol):
    """Where another model comes from: any of `nlae.target`'s sources."""

    def load(self, dtype: str = "float32", device: str = "cpu") -> Target:
        """The model."""
        ...


class Cross:
    """`cross/reader`, `cross/lens`, `cross/other_base`; with `_gap`, `_null` and, of explanations, `_kept`.

    It writes `rows` explanations, which `kept_refit` with the same rows and cache shares, and fits two readers.

    Args:
        rows: training rows whose explanations readers are fitted on.
        updates: of each fit; None takes as many as the reconstructor had.
        batch_size: texts per update; None takes what the reconstructor had, if the checkpoint says so, else 32.
        lr: learning rate; None takes what the reconstructor had, else 5e-4.
        lens_words: words of the logit lens that stand for an explanation; None leaves it out.
        other_base: source of another model; None leaves it out.
        other_depth: of the block of that model that is read, 0 to 1.
        cache_dir: folder that keeps the explanations; None keeps them for this evaluation alone.
        fit_reader: trains a reader; None takes the package's own.
    """

    costly = True

    def __init__(
        self,
        rows: int = 2048,
        updates: int | None = 300,
        batch_size: int | None = None,
        lr: float | None = None,
        lens_words: int | None = 12,
        other_base: Source | None = None,
        other_depth: float = 0.6,
        cache_dir: str | None = None,
        fit_reader: FitReader | None = None,
    ) -> None:
        where = "evaluation.measures.cross"
        if rows < 10:
            raise NlaeError(f"{where}.rows is {rows}; it must be at least 10")
        if lens_words is not None and lens_words < 1:
            raise NlaeError(f"{where}.lens_words is {lens_words}; it must be at least 1, or null to leave the lens out")
        if not 0 <= other_depth <= 1:
            raise NlaeError(f"{where}.other_depth is {other_depth}; it must be between 0 and 1")
        self.rows, self.cache_dir, self.fit_reader, self.lens_words = rows, cache_dir, fit_reader, lens_words
        self.updates, self.batch_size, self.lr = updates, batch_size, lr
        self.other_base, self.other_depth = other_base, other_depth

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        budget = reader_budget(meta_of(record.autoencoder), self.updates, self.batch_size, self.lr)
        if budget is None:
            record.board.note(
                "no cross: the checkpoint does not say how long its reconstructor was trained; set "
                "evaluation.measures.cross.updates"
            )
            return
        rows, texts = own_texts(record, self.rows, self.cache_dir)
        reader = fit_texts(record, rows, texts, budget, self.fit_reader, "another seed")
        found_ND = read(reader, record.texts, record.constant_D, record.batch_size, "another seed")
        reader_N = self._put(record, "reader", found_ND, record.error_N, own_words=True)
        if self.lens_words is not None:
            self._lens(record, rows, budget, reader_N, self.lens_words)
        if self.other_base is not None:
            device = str(getattr(record.autoencoder.target, "device", "cpu"))  # type: ignore[attr-defined]
            base = OtherBase(self.other_base.load(device=device), self.other_depth, batch_size=record.batch_size)
            foreign = base.fit(texts, unit(rows.all()))
            found_ND = read(foreign, record.texts, record.constant_D, record.batch_size, "another base")
            self._put(record, "other_base", found_ND, record.error_N, own_words=True)

    def _lens(
        self, record: EvaluationRecord, rows: ActivationRows, budget: ReaderBudget, reader_N: Tensor, count: int
    ) -> None:
        """Read words of the unembedding with a reader fitted on such; the gap is to the explanations', fitted alike."""
        autoencoder: Any = record.autoencoder
        if record.raw_ND.shape[1] != getattr(autoencoder.target, "d_model", None):
            record.board.note("no cross/lens: the activations of this site are not those that the unembedding reads")
            return
        size = record.batch_size
        train = lens_words(autoencoder, rows.all(), count, size, "training rows")
        test = lens_words(autoencoder, record.raw_ND, count, size, "test rows")
        reader = fit_texts(record, rows, train, budget, self.fit_reader, "lens words")
        found_ND = read(reader, test, record.constant_D, size, "lens words")
        self._put(record, "lens", found_ND, reader_N, own_words=False)
        record.columns["lens"] = test

    def _put(
        self, record: EvaluationRecord, name: str, pred_ND: Tensor, beside_N: Tensor, *, own_words: bool
    ) -> Tensor:
        """Put the figure, its gap, its null and its share; returns its errors."""
        board, main_N, key = record.board, record.main_N, f"cross/{name}"
        error_N = board.error(pred_ND)
        board.add_control(key, error_N, beside_N, main_N)
        pairing = record.partners(main_N)
        if pairing is not None:
            board.add(f"{key}_null", board.error(pred_ND[pairing]), main_N)
        if own_words:
            base_N = record.baseline(main_N)
            board.add_quotient(f"{key}_kept", base_N - error_N, base_N - record.error_N, main_N)
        return error_N
