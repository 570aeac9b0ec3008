"""What every evaluation leaves on disk: a row a line, samples to read, and the reasons for gaps.

Every file appears whole or not at all. `rows.parquet` holds the errors themselves, so two evaluations can be compared
row by row afterwards (`paired.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nlae.activations import ActivationRows
from nlae.evaluation.base import Contexts
from nlae.evaluation.record import EvaluationRecord
from nlae.files.arrow import replacing, write_text
from nlae.functional.randomness import derive_seed
from nlae.functional.reconstruction import per_token_fve

SHOWN_TOKENS = 200
EXTREMES = 10
SAMPLES = 40


def row_table(record: EvaluationRecord) -> pl.DataFrame:
    """One line per measured row.

    Columns: row, document, source, position, token_id, token, context (its last 64 tokens), norm, early, massive,
    explanation, closed, n_tokens (generated), tokens_read, fve (per token: 1 − error / training variance; null without
    it), rank (null for early rows), error (‖ĥ−ĥ'‖²), spread (‖ĥ−μ‖²), `error_*` of everything else that predicted this
    row (null where it did not), and what measures have added: explanation_greedy, teacher.
    """
    rows = record.rows
    variance = None if record.statistics is None else record.statistics.variance
    columns: dict[str, Any] = {
        "row": rows.row,
        "document": rows.document,
        "source": [str(name) for name in rows.source],
        "position": rows.position,
        "token_id": rows.token_id,
        "token": [record.decode(ids[-1:]) for ids in record.context_ids],
        "context": record.contexts,
        "norm": rows.norm,
        "early": rows.early,
        "massive": record.massive_N.numpy(),
        "explanation": record.texts,
        "closed": [one.closed for one in record.explanations],
        "n_tokens": [one.n_tokens for one in record.explanations],
        "tokens_read": None if record.lengths is None else record.lengths[0].long().numpy(),
        "fve": None if variance is None else per_token_fve(record.error_N, variance).numpy(),
        "rank": record.columns.get("rank"),
        "error": record.error_N.numpy(),
        "spread": record.board.spread_N.numpy(),
    }
    columns |= {f"error_{name}": error_N.numpy() for name, error_N in record.errors.items()}
    columns |= {name: values for name, values in record.columns.items() if name != "rank"}
    filled = {name: [None] * len(rows) if values is None else values for name, values in columns.items()}
    return pl.DataFrame(filled).with_columns(pl.selectors.float().fill_nan(None))


def unselected(table: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """`count` main rows drawn without looking at what was written, with what a person needs to judge them."""
    main = table.filter(~pl.col("early"))
    order = np.random.default_rng(derive_seed(seed, "samples")).permutation(len(main))[:count]
    shown: pl.DataFrame = main[np.sort(order).tolist()].select(
        "row", "source", "position", "context", "token", "explanation", "closed", "fve", "error", "rank"
    )
    return shown


def write(folder: Path, table: pl.DataFrame, notes: list[str]) -> None:
    """Write `rows.parquet`, `samples.json` (unselected, best, worst) and `notes.json`."""
    with replacing(folder / "rows.parquet") as temporary:
        table.write_parquet(temporary)
    shown = unselected(table, len(table), 0)
    samples = {
        "unselected": unselected(table, SAMPLES, 0).to_dicts(),
        "best": shown.sort("error", "row").head(EXTREMES).to_dicts(),
        "worst": shown.sort("error", "row", descending=[True, False]).head(EXTREMES).to_dicts(),
    }
    for name, content in (("samples.json", samples), ("notes.json", notes)):
        write_text(folder / name, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def context_reader(tokenizer: Any, corpus: Contexts | None, pool: ActivationRows) -> Callable[[int], str]:
    """A function from a row number to the text before it: up to 200 tokens of the corpus, else what the store keeps."""
    place = {int(number): index for index, number in enumerate(pool.row)}

    def context(row: int) -> str:
        ids = corpus.context_ids(row)[-SHOWN_TOKENS:] if corpus is not None else pool.context_ids(place[row])
        return _decoded(tokenizer, [ids])[0]

    return context


def _decoded(tokenizer: Any, ids: list[list[int]]) -> list[str]:
    if tokenizer is None:
        return [" ".join(map(str, row)) for row in ids]
    return [str(tokenizer.decode(row, clean_up_tokenization_spaces=False)) for row in ids]
