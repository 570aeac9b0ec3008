"""From the scores of a block to its rows of `dictionary.parquet`; what needs the bar of all blocks comes later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.scan.folder import Panel
from nlae.dictionary.schema import GRADES, LABELS, MARGIN, REASONS, SCHEMA, SIGNS, SPLITS
from nlae.dictionary.score.block import Scores
from nlae.dictionary.score.population import Population, blocks
from nlae.dictionary.subjects.neurons import Subjects
from nlae.dictionary.words.corpus_view import CorpusView
from nlae.dictionary.words.phrase import listed
from nlae.dictionary.words.vocabulary import Vocabulary

UNSEEN = 3  # windows of test works that are shown
WRITTEN = 4  # words of what an entry writes
_ARROW = pl.DataFrame(schema=SCHEMA).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
_TEST = ("auroc", "mismatched", "nearest", "permuted", "last_token", "token_list", "lens", "skyline")


def frame(
    scores: Scores,
    subjects: Subjects,
    layer: int,
    view: CorpusView,
    vocabulary: Vocabulary,
    settings: DictionaryBuilder,
) -> pl.DataFrame:
    """The block's entries, by neuron, then sign, without what the bar decides.

    Args:
        scores: of the block.
        subjects: columns.
        layer: block.
        view: of the corpus.
        vocabulary: of its words.
        settings: of the dictionary.
    """
    population, n = scores.population, scores.population.n
    names = [f"{layer}.{entry % n}{SIGNS[entry // n]}" for entry in range(2 * n)]
    moments, exemplars = subjects.moments(layer), subjects.exemplars(layer)
    ids, _ = subjects.promoted(layer, max(1, settings.promoted))
    promoted, suppressed = (_words(view, side.flatten(0, 1)) for side in (ids[:, 0], ids[:, 1]))
    columns: dict[str, Any] = {
        "layer": [layer] * (2 * n),
        "neuron": np.tile(np.arange(n), 2),
        "sign": np.repeat(list(SIGNS), n),
        "split": [SPLITS[split] for split in scores.split_E.tolist()],
        "description": scores.texts,
        "writes": [_written(vocabulary, row) for row in ids[:, 0].flatten(0, 1).tolist()],
        "label": [""] * (2 * n),
        "grade": [""] * (2 * n),
        "passes": [False] * (2 * n),
        "reason": [""] * (2 * n),
        "reader": [settings.reader] * (2 * n),
        "nearest_entry": [names[place] for place in scores.nearest_E.tolist()],
        "groups": scores.groups_E.numpy(),
        "specialised": scores.specialised_E.numpy(),
        "tokens": view.peaks(exemplars.document, exemplars.position, settings.promoted),
        "promoted": promoted,
        "suppressed": suppressed,
        "exemplar_value": _kept(exemplars.value, exemplars.document),
        "exemplar_document": _kept(exemplars.document, exemplars.document),
        "exemplar_position": _kept(exemplars.position, exemplars.document),
        **unseen(population, subjects.panel("test"), exemplars.value[..., 0].flatten()),
    }
    bar_E = torch.full((2 * n,), torch.nan)
    bar_E[torch.nonzero(scores.split_E == SPLITS.index("A"))[:, 0]] = scores.own_bar
    numbers = {
        **{name: scores.test[name] for name in _TEST},
        "auroc_bar": bar_E,
        **{name: getattr(scores, name) for name in ("spearman", "r2", "r2_linear")},
        **dict.fromkeys(("embedding", "detection", "output_score"), torch.full((2 * n,), torch.nan)),
        "frequency": moments.frequency.flatten(),
        **{name: getattr(moments, name).repeat(2) for name in ("kurtosis", "mean")},
        "std": moments.variance.sqrt().repeat(2),
    }
    series = {name: pl.Series(name, value.float().numpy()).fill_nan(None) for name, value in numbers.items()}
    series |= {name: pl.Series(name, pa.array(value, _ARROW.field(name).type)) for name, value in columns.items()}
    whole = pl.DataFrame([series[name].cast(SCHEMA[name]) for name in SCHEMA])
    signs = SIGNS if subjects.signed else SIGNS[:1]
    return whole.filter(pl.col("sign").is_in(signs)).sort("neuron", pl.col("sign") == SIGNS[1], maintain_order=True)


def decided(entries: pl.DataFrame, bar: float, min_auroc: float) -> pl.DataFrame:
    """Entries with what the bar of all blocks decides: who passes, with which grade and label, and why not."""
    auroc, passes = pl.col("auroc"), (pl.col("auroc") >= max(bar, min_auroc)).fill_null(False)
    more = [(auroc > pl.col(name) + MARGIN).fill_null(True) for name in ("permuted", "last_token")]
    grade = pl.lit("")
    for name, least in GRADES.items():
        grade = pl.when(auroc >= least).then(pl.lit(name)).otherwise(grade)
    few, low, under = REASONS
    why = pl.when(auroc.is_null()).then(pl.lit(few)).when(auroc < min_auroc).then(pl.lit(low)).otherwise(pl.lit(under))
    return entries.with_columns(
        passes=passes,
        grade=pl.when(passes).then(grade).otherwise(pl.lit("")),
        label=pl.when(passes & more[0] & more[1])
        .then(pl.lit(LABELS[1]))
        .when(passes)
        .then(pl.lit(LABELS[0]))
        .otherwise(pl.lit("")),
        reason=pl.when(passes).then(pl.lit("")).otherwise(why),
    )


def unseen(population: Population, panel: Panel, largest_E: Tensor) -> dict[str, list[list[int]]]:
    """Windows of test works in which entries fire: the strongest, and those a third and two thirds down the list."""
    _, first = np.unique(panel.run, return_index=True)
    starts, ends = torch.from_numpy(first), torch.from_numpy(np.append(first[1:], len(panel)))
    run_M = torch.repeat_interleave(torch.arange(len(starts)), ends - starts)
    found: dict[str, list[list[int]]] = {f"unseen_{name}": [] for name in ("document", "start", "peak", "level")}
    for part in blocks(2 * population.n):
        entries = torch.arange(part.start, part.stop)
        value_eM = population.entries("test", entries)
        peak_eR = torch.full((len(entries), len(starts)), -torch.inf)
        peak_eR.scatter_reduce_(1, run_M.expand(len(entries), -1), value_eM, "amax")
        fires_eR = peak_eR > population.threshold_E[entries][:, None]
        order_eR = torch.where(fires_eR, peak_eR, -torch.inf).argsort(-1, descending=True)
        scale_e1 = largest_E[entries].clamp_min(1e-12)[:, None]
        level_eM = (value_eM / scale_e1 * 255).round().clamp(0, 255).byte()
        for row, count in enumerate(fires_eR.sum(-1).tolist()):
            runs = (
                [int(order_eR[row, place]) for place in sorted({i * count // UNSEEN for i in range(UNSEEN)})]
                if count
                else []
            )
            spans = [(int(starts[run]), int(ends[run])) for run in runs]
            found["unseen_document"].append([int(panel.document[low]) for low, _ in spans])
            found["unseen_start"].append([int(panel.position[low]) for low, _ in spans])
            found["unseen_peak"].append([int(value_eM[row, low:high].argmax()) for low, high in spans])
            found["unseen_level"].append([level for low, high in spans for level in level_eM[row, low:high].tolist()])
    return found


def _words(view: CorpusView, ids_Ek: Tensor) -> list[list[str]]:
    return [[view.word(token) for token in ids] for ids in ids_Ek.tolist()]


def _written(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    words = [
        vocabulary.words[w] for w in (int(vocabulary.word_V[i]) for i in ids if i < len(vocabulary.word_V)) if w >= 0
    ]
    return listed(list(dict.fromkeys(words))[:WRITTEN], "and")


def _kept(value_2nk: Tensor, document_2nk: Tensor) -> list[list[Any]]:
    """Lists without the places where an entry has fewer exemplars."""
    rows = zip(value_2nk.flatten(0, 1).tolist(), document_2nk.flatten(0, 1).tolist(), strict=True)
    return [[v for v, d in zip(values, documents, strict=True) if d >= 0] for values, documents in rows]
