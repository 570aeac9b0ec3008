"""The whole dictionary: layers one after the other, each kept when it is finished, then one file of all.

A killed run goes on with the first layer that is not finished. What is expensive is said before it begins.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from nlae.corpus import Corpus
from nlae.dictionary.columns import drawn_neurons
from nlae.dictionary.corpus_view import CorpusView
from nlae.dictionary.describe.candidates import Sample
from nlae.dictionary.describe.cover import share, stratified
from nlae.dictionary.direction_scan import DirectionScan
from nlae.dictionary.entries import Dictionary, write_dictionary
from nlae.dictionary.frame import EDGES
from nlae.dictionary.job import Job, Promoted, make_layer
from nlae.dictionary.metrics import metrics
from nlae.dictionary.scan.folder import Scan
from nlae.dictionary.schema import SCHEMA
from nlae.dictionary.settings import DictionarySettings
from nlae.dictionary.speaker import Speaker
from nlae.errors import NlaeError
from nlae.foreign import parse_json
from nlae.functional.randomness import derive_seed
from nlae.progress import Bar
from nlae.store.arrow import replacing, write_text

log = logging.getLogger(__name__)
PARTS = "layers"
KEYS = ["layer", "neuron", "sign"]
TABLE_ROWS = 64
# texts that a sampled entry and its decoy have written, at most; all that is made from its neuron shares the one of its
# write direction
OWN_TEXTS = {"with": 2, "without": 2, "write": 1}
NULL_TEXTS = {"with": 2, "without": 2}


@dataclasses.dataclass(frozen=True)
class Examined:
    """What judging and steering found.

    Attributes:
        scores: layer, neuron, sign, and the columns of the dictionary that they fill.
        metrics: flat numbers.
    """

    scores: pl.DataFrame
    metrics: dict[str, float]


Examine = Callable[[pl.DataFrame, list[dict[str, Any]]], Examined]


class Logs(Protocol):
    """What the dictionary needs of a run."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Record a table."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a dictionary is going to ask of the autoencoder, at most.

    Attributes:
        layers: blocks.
        entries: signs of neurons.
        written: texts to write.
        tokens: tokens to write.
        read: texts to read.
    """

    layers: int
    entries: int
    written: int
    tokens: int
    read: int

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.entries:,} entries in {self.layers} layers: at most {self.written:,} texts of "
            f"{self.tokens:,} tokens together to write, {self.read:,} to read"
        )


def estimate(
    settings: DictionarySettings,
    layers: Sequence[int],
    width: int,
    max_tokens: int,
    signed: bool = True,
    nulls: int = 0,
) -> Cost:
    """Texts and tokens of a dictionary, before anything is written.

    Args:
        settings: of the dictionary.
        layers: its blocks.
        width: neurons per layer.
        max_tokens: tokens that a text may have.
        signed: whether both signs are entries.
        nulls: entries of the null group with candidates of their own.
    """
    signs = 2 if settings.both_signs and signed else 1
    sampled = signs * sum(min(count, width) for count in share(settings.sample, len(layers)))
    own, null = (sum(texts.get(kind, 0) for kind in settings.own) for texts in (OWN_TEXTS, NULL_TEXTS))
    written = len(layers) * (settings.contexts_per_layer + settings.readable_rows) + sampled * own + nulls * null
    key_words = sampled * (settings.candidates + 1) + 2 * nulls if "context" in settings.own else 0
    read = written + key_words + len(layers) * (1 + settings.readable_rows)
    return Cost(len(layers), (2 if signed else 1) * width * len(layers), written, written * max_tokens, read)


def build_dictionary(
    scan: Scan,
    corpus: Corpus,
    speaker: Speaker,
    tokenizer: Any,
    promoted: Promoted,
    folder: Path,
    *,
    settings: DictionarySettings,
    layers: Sequence[int],
    max_tokens: int,
    target: str,
    run: Logs | None = None,
    examine: Examine | None = None,
) -> dict[str, float]:
    """Describe and score every neuron of the layers into `folder`, going on where a killed run stopped.

    Args:
        scan: of the target over the corpus.
        corpus: passages.
        speaker: a trained autoencoder.
        tokenizer: of the target.
        promoted: layer -> tokens that each neuron promotes and suppresses.
        folder: gets the dictionary, and its layers' parts in a folder of their own.
        settings: of the dictionary.
        layers: blocks, ascending.
        max_tokens: tokens that a text may have, for the estimate.
        target: name of the target.
        run: gets a table of a sample.
        examine: judges and steers with the sample, from its entries and its texts; None leaves that out.

    Returns:
        Flat metrics.

    Raises:
        NlaeError: a layer that the scan lacks.
    """
    missing = sorted(set(layers) - set(scan.layers))
    if missing:
        raise NlaeError(f"dictionary.layers={list(layers)}: the target has no layer {missing[0]}")
    parts = folder / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    left = [layer for layer in layers if not (parts / f"layer-{layer:03d}.json").is_file()]
    samples = draw_samples(scan, settings, layers)
    nulls = sum(
        len(samples[layer].among(drawn_neurons(scan.width, settings.rotated, settings.seed, layer))) for layer in left
    )
    cost = estimate(settings, left, scan.width, max_tokens, scan.signed, nulls) if left else None
    log.info("dictionary: %s", cost or "all layers are finished")
    view = CorpusView(corpus, tokenizer)
    with Bar("texts written", cost.written if cost else None) as bar:
        job = Job(scan, view, speaker, settings, promoted, parts, samples, bar.advance)
        for layer in left:
            entries, line, sampled = make_layer(job, layer)
            with replacing(parts / f"layer-{layer:03d}.parquet") as temporary:
                entries.write_parquet(temporary)
            write_text(parts / f"sample-{layer:03d}.json", json.dumps(sampled, ensure_ascii=False))
            write_text(parts / f"layer-{layer:03d}.json", json.dumps(line, allow_nan=False))
            log.info("layer %d: %d of %d entries pass", layer, line["passing"], line["entries"])
    extra = examine(*_sampled(parts, layers)) if examine is not None else None
    return _finish(folder, layers, view, settings, target, scan, run, extra)


def _sampled(parts: Path, layers: Sequence[int]) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Entries of the sample, and the texts about them, in the same order."""
    texts = [row for layer in layers for row in parse_json((parts / f"sample-{layer:03d}.json").read_text("utf-8"))]
    keys = pl.DataFrame(texts, schema={name: SCHEMA[name] for name in KEYS})
    frames = [pl.read_parquet(parts / f"layer-{layer:03d}.parquet").filter("sampled") for layer in layers]
    return keys.join(pl.concat(frames), on=KEYS, how="left", maintain_order="left"), texts


def draw_samples(scan: Scan, settings: DictionarySettings, layers: Sequence[int]) -> dict[int, Sample]:
    """Neurons with candidates of their own: as many in every layer, and in every stratum of frequency."""
    samples = {}
    for layer, count in zip(layers, share(settings.sample, len(layers)), strict=True):
        draw = np.random.default_rng(derive_seed(settings.seed, "sample", layer))
        frequency = scan.moments(layer).frequency.amax(0).double().numpy()
        neurons, sign = stratified(frequency, count, draw)
        if not scan.signed:
            sign = np.zeros_like(sign)
        elif settings.both_signs:
            neurons, sign = np.repeat(neurons, 2), np.tile([0, 1], len(neurons))
        samples[layer] = Sample(neurons, sign)
    return samples


def _finish(
    folder: Path,
    layers: Sequence[int],
    view: CorpusView,
    settings: DictionarySettings,
    target: str,
    scan: Scan,
    run: Logs | None,
    extra: Examined | None,
) -> dict[str, float]:
    parts = folder / PARTS
    lines = [parse_json((parts / f"layer-{layer:03d}.json").read_text(encoding="utf-8")) for layer in layers]

    def frames() -> Iterator[pl.DataFrame]:
        for layer in layers:
            part = pl.read_parquet(parts / f"layer-{layer:03d}.parquet")
            yield part if extra is None else part.update(extra.scores, on=KEYS, how="left")

    documents = sorted({int(d) for part in frames() for d in part["exemplar_document"].explode().drop_nulls()})
    facts = {
        "target": target,
        "width": scan.width,
        "n_layers": len(scan.layers),
        "layers": list(layers),
        "scanned_tokens": scan.n_tokens,
        **({"directions": scan.directions.name, "site": scan.site.name} if isinstance(scan, DirectionScan) else {}),
        "histogram_edges": EDGES.tolist(),
        "fdr": settings.fdr,
        "min_auroc": settings.min_auroc,
        "min_margin": settings.min_margin,
        "active_quantile": settings.active_quantile,
        "min_passages": settings.min_passages,
        "intervals": "95 %, bootstrap over neurons with both signs of one together; contexts are held fixed",
    }
    write_dictionary(folder, frames(), contexts=view.contexts(documents), layers=lines, facts=facts)
    dictionary = Dictionary.open(folder)
    if run is not None:
        _show(dictionary, run, settings.seed)
    return metrics(dictionary, settings.seed) | ({} if extra is None else extra.metrics)


def _show(dictionary: Dictionary, run: Logs, seed: int) -> None:
    """A table of entries, some that pass and some of all."""
    table = dictionary.overview
    columns = ["layer", "neuron", "sign", "description", "candidate", "passes", "fdr", "prediction", "prediction_null"]
    passing = table.filter("passes")
    few = [frame.sample(min(TABLE_ROWS // 2, len(frame)), seed=seed) for frame in (passing, table)]
    run.table("dictionary", columns, pl.concat(few).unique(maintain_order=True).select(columns).rows())


def pick_layers(named: Sequence[int] | None, n_layers: int) -> list[int]:
    """Blocks of the dictionary, ascending; all of them where none are named.

    Raises:
        NlaeError: one that the target does not have.
    """
    layers = sorted(range(n_layers) if named is None else (int(layer) for layer in named))
    wrong = [layer for layer in layers if not 0 <= layer < n_layers]
    if wrong:
        raise NlaeError(f"dictionary.layers holds {wrong[0]}: the target has layers 0 to {n_layers - 1}")
    return layers
