"""From the scores of a block to its rows of `dictionary.parquet`; what needs the bar of all blocks comes later."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from polars import selectors
from torch import Tensor

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.scan.folder import Panel
from nlae.dictionary.schema import ARROW, GRADES, LABELS, MARGIN, REASONS, SCHEMA, SIGNS, SPLITS
from nlae.dictionary.score.block import Scores
from nlae.dictionary.score.population import BLOCK, Population, splits
from nlae.dictionary.subjects.neurons import Subjects
from nlae.dictionary.words.corpus_view import CorpusView
from nlae.dictionary.words.phrase import listed
from nlae.dictionary.words.vocabulary import Vocabulary

UNSEEN = 3  # windows of test works that are shown
WRITTEN = 4  # words of what an entry writes
_LATER = {"label": "", "grade": "", "passes": False, "reason": ""}  # what the bar decides,
_LATER |= dict.fromkeys(("embedding", "detection", "output_score"))  # and what judges may say


def frame(
    scores: Scores,
    subjects: Subjects,
    layer: int,
    view: CorpusView,
    vocabulary: Vocabulary,
    settings: DictionaryBuilder,
) -> pl.DataFrame:
    """The block's entries, by neuron, then sign, without what the bar decides and judges say."""
    population, n = scores.population, scores.population.n
    neuron_E, sign_E = np.tile(np.arange(n), 2), np.repeat(list(SIGNS), n)
    moments, exemplars = subjects.moments(layer), subjects.exemplars(layer)
    ids, _ = subjects.promoted(layer, max(1, settings.promoted))
    promoted, suppressed = (ids[:, side].flatten(0, 1).tolist() for side in (0, 1))
    places = {name: getattr(exemplars, name).flatten(0, 1).tolist() for name in ("value", "document", "position")}
    there = [sum(document >= 0 for document in row) for row in places["document"]]  # fewer exemplars: −1 behind them
    kept = {name: [row[:count] for row, count in zip(rows, there, strict=True)] for name, rows in places.items()}
    peaks = [
        dict.fromkeys(view.ids(document)[position] for document, position in zip(*row, strict=True))
        for row in zip(kept["document"], kept["position"], strict=True)
    ]
    columns: dict[str, Any] = {
        "neuron": neuron_E,
        "sign": sign_E,
        "split": [SPLITS[split] for split in splits(layer, n).repeat(2).tolist()],
        "description": scores.described.texts,
        "writes": [_written(vocabulary, tokens) for tokens in promoted],
        "nearest_entry": [f"{layer}.{neuron_E[place]}{sign_E[place]}" for place in scores.nearest_E.tolist()],
        "tokens": [[view.word(token) for token in tokens][: settings.promoted] for tokens in peaks],
        "promoted": [[view.word(token) for token in tokens] for tokens in promoted],
        "suppressed": [[view.word(token) for token in tokens] for tokens in suppressed],
        **{f"exemplar_{name}": rows for name, rows in kept.items()},
        **unseen(population, subjects.panel("test"), exemplars.value[..., 0].flatten()),
    }
    numbers = {
        **scores.columns,
        "frequency": moments.frequency.flatten(),
        **{name: getattr(moments, name).repeat(2) for name in ("kurtosis", "mean")},
        "std": moments.variance.sqrt().repeat(2),
    }
    series = [pl.Series(name, value.numpy()) for name, value in numbers.items()]
    series += [pl.Series(name, pa.array(value, ARROW.field(name).type)) for name, value in columns.items()]
    same = {"layer": layer, "reader": settings.reader, **_LATER}
    whole = pl.DataFrame(series).with_columns(pl.lit(value).alias(name) for name, value in same.items())
    whole = whole.with_columns(selectors.float().fill_nan(None))
    signs = SIGNS if subjects.signed else SIGNS[:1]
    whole = whole.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()).filter(pl.col("sign").is_in(signs))
    return whole.sort("neuron", pl.col("sign") == SIGNS[1], maintain_order=True)


def decided(entries: pl.DataFrame, bar: float, min_auroc: float) -> pl.DataFrame:
    """Entries with what the bar of all blocks decides: who passes, with which grade and label, and why not."""
    auroc, passes = pl.col("auroc"), (pl.col("auroc") >= max(bar, min_auroc)).fill_null(False)
    more = [(auroc > pl.col(name) + MARGIN).fill_null(True) for name in ("permuted", "last_token")]
    (token, context), (few, low, under) = LABELS, REASONS
    grade = pl.lit("")
    for name, least in GRADES.items():
        grade = pl.when(auroc >= least).then(pl.lit(name)).otherwise(grade)
    why = pl.when(auroc.is_null()).then(pl.lit(few)).when(auroc < min_auroc).then(pl.lit(low)).otherwise(pl.lit(under))
    nothing = pl.lit("")
    return entries.with_columns(
        passes=passes,
        grade=pl.when(passes).then(grade).otherwise(nothing),
        label=pl.when(~passes).then(nothing).when(more[0] & more[1]).then(pl.lit(context)).otherwise(pl.lit(token)),
        reason=pl.when(passes).then(nothing).otherwise(why),
    )


def unseen(population: Population, panel: Panel, largest_E: Tensor) -> dict[str, list[list[int]]]:
    """Windows of test works in which entries fire: the strongest, and those a third and two thirds down the list."""
    _, first = np.unique(panel.run, return_index=True)
    starts, ends = torch.from_numpy(first), torch.from_numpy(np.append(first[1:], len(panel)))
    run_M = torch.repeat_interleave(torch.arange(len(starts)), ends - starts)
    found: dict[str, list[list[int]]] = {f"unseen_{name}": [] for name in ("document", "start", "peak", "level")}
    for entry_e in torch.arange(2 * population.n).split(BLOCK):
        value_eM = population.entries("test", entry_e)
        peak_eR = torch.full((len(entry_e), len(starts)), -torch.inf)
        peak_eR.scatter_reduce_(1, run_M.expand(len(entry_e), -1), value_eM, "amax")
        fires_eR = peak_eR > population.threshold_E[entry_e][:, None]
        order_eR = torch.where(fires_eR, peak_eR, -torch.inf).argsort(-1, descending=True)
        scale_e1 = largest_E[entry_e].clamp_min(1e-12)[:, None]
        level_eM = (value_eM / scale_e1 * 255).round().clamp(0, 255).byte()
        for row, count in enumerate(fires_eR.sum(-1).tolist()):
            chosen = sorted({i * count // UNSEEN for i in range(UNSEEN)}) if count else []
            runs = order_eR[row, chosen].tolist()
            spans = [(int(starts[run]), int(ends[run])) for run in runs]
            found["unseen_document"].append([int(panel.document[low]) for low, _ in spans])
            found["unseen_start"].append([int(panel.position[low]) for low, _ in spans])
            found["unseen_peak"].append([int(value_eM[row, low:high].argmax()) for low, high in spans])
            found["unseen_level"].append([level for low, high in spans for level in level_eM[row, low:high].tolist()])
    return found


def _written(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    words = [int(vocabulary.word_V[token]) for token in ids if token < len(vocabulary.word_V)]
    return listed(list(dict.fromkeys(vocabulary.words[word] for word in words if word >= 0))[:WRITTEN], "and")
