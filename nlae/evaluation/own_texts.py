"""The verbalizer's own explanations of training rows, and readers fitted on these or other texts of the same rows.

Writing them costs as much as writing those that are measured, so they may be kept outside the evaluation's folder,
where the next evaluation of the same verbalizer finds them. What it wrote about the measured rows tells verbalizers
apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch import Tensor

from nlae.activations import ActivationRows
from nlae.activations.order import batch_rows
from nlae.evaluation import round_trip
from nlae.evaluation.base import FitReader, Reader
from nlae.evaluation.budget import ReaderBudget
from nlae.evaluation.reader import fit_reader
from nlae.evaluation.record import EvaluationRecord
from nlae.evaluation.round_trip import Sampling
from nlae.functional.randomness import derive_seed
from nlae.terminal.progress import Bar

PASS = "own"


def own_texts(record: EvaluationRecord, count: int, cache_dir: str | None) -> tuple[ActivationRows, list[str]]:
    """Training rows, at most `count` in proportion to their works, and one sampled explanation of each.

    Args:
        record: of the evaluation.
        count: rows.
        cache_dir: folder that keeps the explanations; None is the evaluation's own, which forgets them at its end.
    """
    rows = record.choose("train", count)
    folder = record.folder if cache_dir is None else Path(cache_dir).expanduser() / _identity(record)
    said = round_trip.write(record.autoencoder, rows, Sampling(PASS, record.seed, batch_size=record.batch_size), folder)
    return rows, [one.text for one in said]


def fit_texts(
    record: EvaluationRecord,
    rows: ActivationRows,
    texts: Sequence[str],
    budget: ReaderBudget,
    fit: FitReader | None,
    name: str,
) -> Reader:
    """A fresh reader of the reconstructor's architecture, fitted on texts of `rows`.

    The next one takes its place: read with it before another is fitted.

    Args:
        record: of the evaluation.
        rows: training rows.
        texts: one of each.
        budget: of the fit.
        fit: trains it; None takes the package's own.
        name: for the bar; readers differ in their texts alone, not in their seeds.
    """

    def indices(update: int) -> list[int]:
        chosen = batch_rows(len(rows), seed=record.seed, stage="refit", update=update, batch_size=budget.batch_size)
        return [int(index) for index in chosen]

    def activations(update: int) -> Tensor:
        return rows.activations(indices(update))

    record.quote_reader = None  # trained in the same place
    with Bar(f"train a reader ({name})", budget.updates) as bar:
        return (fit or cast(FitReader, fit_reader))(
            record.autoencoder,
            lambda update: [texts[index] for index in indices(update)],
            activations,
            updates=budget.updates,
            batch_size=budget.batch_size,
            lr=budget.lr,
            seed=derive_seed(record.seed, "refit"),
            progress=lambda done: bar.advance(done),
        )


def read_with(record: EvaluationRecord, reader: Reader, texts: Sequence[str], name: str) -> Tensor:
    """‖ĥ−ĥ'‖² of what a reader makes of a text for each measured row, float64 [N]."""
    pred_ND = round_trip.read(reader, texts, record.constant_D, record.batch_size, name)
    return record.board.error(pred_ND)


def _identity(record: EvaluationRecord) -> str:
    whole = json.dumps([record.seed, record.rows.row.tolist(), record.texts], ensure_ascii=False)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:16]
