"""How much of every single neuron survives the words, at sites of neurons (`nlae.evaluation.per_neuron`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from nlae.activations import ActivationRows
from nlae.evaluation.per_neuron import fit_neuron_shrink, linear_ceiling, neuron_r2, write
from nlae.evaluation.record import EvaluationRecord
from nlae.functional.reconstruction import fit_scale, shrink

FIT_ROWS = 8192  # for means and linear maps, in memory at once


class Neurons:
    """`neurons/r2`, `neurons/r2_shrunk`, `ceiling/linear` with their quartiles; `neurons.parquet`, a line a neuron.

    Nothing at other sites, nor where what is injected is not known.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        if reads_neurons(record):
            write(measure(record), record.folder)


def reads_neurons(record: EvaluationRecord) -> bool:
    """Whether what is measured is a site of neurons whose injection is known."""
    site: Any = getattr(record.autoencoder, "site", None)
    return getattr(site, "kind", None) == "mlp_neurons" and hasattr(record.autoencoder, "verbalizer")


def measure(record: EvaluationRecord) -> pl.DataFrame:
    """Put medians and quartiles on the board; return a line for each neuron.

    Columns: layer, neuron, r2, r2_shrunk, shrink, ceiling (null where the neuron stands still in the test rows), mean
    and std (training rows).
    """
    board = record.board
    train = _capped(record.store.split("train", early=False))
    raw_train_BN = train.all()
    mean_N = raw_train_BN.double().mean(0)
    fitted = record.choose("train", record.fit_rows)
    scale = fit_scale(_read(record, fitted, "training")[0], fitted.all())
    main_N = record.main_N
    test_BN = record.raw_ND[main_N]
    pred_BN = _raw(record.pred_ND[main_N], _norms(record, record.texts, main_N), scale)
    columns = {"r2": neuron_r2(pred_BN, test_BN, mean_N)}
    validation = record.choose("val", record.fit_rows)
    if len(validation):
        unit_BN, texts = _read(record, validation, "validation")
        raw_validation_BN = validation.all()
        said_BN = _raw(unit_BN, _norms(record, texts, None), scale)
        columns["shrink"] = fit_neuron_shrink(said_BN, raw_validation_BN, mean_N)
        shrunk_BN = shrink(pred_BN, mean_N, columns["shrink"])
        columns["r2_shrunk"] = neuron_r2(shrunk_BN, test_BN, mean_N)
        held = _capped(record.store.split("val", early=False)).all()
        ceiling_N, penalty_N = linear_ceiling(
            (_injected(record, raw_train_BN), raw_train_BN),
            (_injected(record, held), held),
            (_injected(record, test_BN), test_BN),
        )
        columns["ceiling"] = ceiling_N
        board.put("ceiling/penalty", float(penalty_N.median()))
        _quartiles(record, "neurons/r2_shrunk", columns["r2_shrunk"])
        _quartiles(record, "ceiling/linear", ceiling_N)
    else:
        board.note("no ceiling/linear and no shrunken R² of neurons: the corpus has no validation rows")
    _quartiles(record, "neurons/r2", columns["r2"])
    board.put("neurons/still", int(columns["r2"].isnan().sum()))
    columns |= {"mean": mean_N, "std": raw_train_BN.double().std(0, correction=0)}
    site: Any = getattr(record.autoencoder, "site", None)
    frame = pl.DataFrame({name: column_N.numpy() for name, column_N in columns.items()})
    numbered = frame.with_columns(pl.selectors.float().fill_nan(None)).with_row_index("neuron")
    return numbered.select(
        pl.lit(int(site.index), pl.Int32).alias("layer"), pl.col("neuron").cast(pl.Int32), *frame.columns
    )


def _capped(rows: ActivationRows) -> ActivationRows:
    """At most `FIT_ROWS` rows, evenly spaced."""
    return rows.select(np.arange(0, len(rows), max(1, -(-len(rows) // FIT_ROWS))))


def _read(record: EvaluationRecord, rows: ActivationRows, name: str) -> tuple[Tensor, list[str]]:
    """Directions read from the explanations of `rows`, and those; kept under `name`, where other parts find them."""
    texts = [one.text for one in record.write(rows, name)]
    return record.read(texts, name), texts


def _norms(record: EvaluationRecord, texts: list[str], keep_N: Tensor | None) -> Tensor | None:
    """The magnitude head's norms [B, 1] of texts, or None without such a head."""
    head: Any = getattr(record.autoencoder, "reconstruct_norm", None)
    norm_N = None if head is None else head(texts)
    if norm_N is None:
        return None
    return norm_N.double()[:, None] if keep_N is None else norm_N.double()[keep_N, None]


def _raw(unit_BN: Tensor, norm_B1: Tensor | None, scale: float) -> Tensor:
    return unit_BN.double() * (scale if norm_B1 is None else norm_B1)


@torch.no_grad()
def _injected(record: EvaluationRecord, raw_BN: Tensor) -> Tensor:
    """What the verbalizer is given of raw neurons, before its norm is set."""
    verbalizer: Any = getattr(record.autoencoder, "verbalizer", None)
    return torch.cat([verbalizer.narrowed(part_BN).cpu() for part_BN in raw_BN.split(4096)])


def _quartiles(record: EvaluationRecord, name: str, value_N: Tensor) -> None:
    known_N = value_N[~value_N.isnan()]
    if len(known_N):
        for key, share in ((name, 0.5), (f"{name}_q25", 0.25), (f"{name}_q75", 0.75)):
            record.board.put(key, float(known_N.quantile(share)))
