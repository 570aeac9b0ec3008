"""The whole dictionary: blocks one after the other, each kept when it is finished, then one bar and one file for all.

A killed run goes on with the first block that is not finished. Memory is that of one block.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.block import Scores, score_block
from nlae.dictionary.corpus_view import CorpusView
from nlae.dictionary.describing import Words
from nlae.dictionary.entries import write_dictionary
from nlae.dictionary.frame import EDGES, decided, frame, specialised
from nlae.dictionary.metrics import Reported, figures
from nlae.dictionary.population import B, Population
from nlae.dictionary.schema import SPLITS
from nlae.dictionary.score.bar import bar as find_bar
from nlae.dictionary.settings import DictionarySettings
from nlae.dictionary.subjects import Subjects
from nlae.dictionary.totals import block_row, say, totals
from nlae.dictionary.words.bags import Bags
from nlae.dictionary.words.vocabulary import Vocabulary
from nlae.errors import NlaeError
from nlae.files.arrow import replacing, write_text
from nlae.files.foreign import parse_json
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.randomness import derive_seed
from nlae.terminal.progress import Bar

log = logging.getLogger(__name__)
PARTS = "layers"
KEYS = ["layer", "neuron", "sign"]
TABLE_ROWS = 64

_TABLE = (
    "layer", "neuron", "sign", "split", "description", "label", "grade", "passes", "auroc", "nearest", "last_token",
    "specialised", "spearman", "r2", "r2_linear",
)  # fmt: skip


class Logs(Protocol):
    """What the dictionary needs of a run."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Record a table."""


Taught = Callable[[int, Population], Mapping[int, str]]
Examine = Callable[[pl.DataFrame, Mapping[tuple[int, int, str], str]], tuple[pl.DataFrame, dict[str, float]]]


@dataclass(frozen=True)
class Job:
    """What a dictionary is made of.

    Attributes:
        subjects: columns and their inputs.
        corpus: passages.
        tokenizer: of the target.
        embedding_VD: the target's input embeddings.
        settings: of the dictionary.
        layers: blocks, ascending.
        facts: of the target, to be written down.
    """

    subjects: Subjects
    corpus: Corpus
    tokenizer: Any
    embedding_VD: Tensor
    settings: DictionarySettings
    layers: Sequence[int]
    facts: Mapping[str, Any]


def build_dictionary(
    job: Job, folder: Path, *, run: Logs | None = None, taught: Taught | None = None, examine: Examine | None = None
) -> dict[str, float]:
    """Describe and score every entry of the layers into `folder`, going on where a killed run stopped.

    Args:
        job: what it is made of.
        folder: gets the dictionary, and its layers' parts in a folder of their own.
        run: gets a table of entries.
        taught: descriptions by a teacher, of a layer's entries.
        examine: judges of finished entries, given other entries' words too; fills columns and adds numbers.

    Returns:
        Flat metrics.
    """
    parts = folder / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    left = [layer for layer in job.layers if not (parts / f"layer-{layer:03d}.json").is_file()]
    view = CorpusView(job.corpus, job.tokenizer)
    works = list(job.subjects.panel("test").source)
    bootstrap = ClusterBootstrap(works, derive_seed(job.settings.seed, "works"), job.settings.resamples)
    if left:
        _make(job, left, parts, view, bootstrap, taught)
    return _finish(job, folder, view, bootstrap, run, examine)


def _make(
    job: Job, left: Sequence[int], parts: Path, view: CorpusView, bootstrap: ClusterBootstrap, taught: Taught | None
) -> None:
    settings = job.settings
    log.info(
        "dictionary: %s entries in %d blocks, words from %s contexts of training works",
        f"{(2 if job.subjects.signed else 1) * job.subjects.width * len(left):,}",
        len(left),
        f"{len(job.subjects.panel('train')):,}",
    )
    vocabulary = Vocabulary(job.tokenizer, job.embedding_VD, view.token_counts)
    words = Words(vocabulary, Bags(job.corpus, job.subjects.panel("train"), vocabulary, settings.window), settings)
    with Bar("blocks described", len(left)) as bar:
        for layer in left:
            teach = None if taught is None else (lambda population, layer=layer: taught(layer, population))
            scores = score_block(words, job.subjects, layer, bootstrap, teach)
            entries = frame(scores, job.subjects, layer, view, vocabulary, settings)
            with replacing(parts / f"layer-{layer:03d}.parquet") as temporary:
                entries.write_parquet(temporary)
            with replacing(parts / f"layer-{layer:03d}.safetensors") as temporary:
                save_file(_tensors(scores), temporary)
            write_text(parts / f"layer-{layer:03d}.json", json.dumps(_line(job, layer, scores), allow_nan=False))
            middle = entries["auroc"].median()
            bar.advance(note=f"block {layer}: median AUROC {middle:.2f}" if isinstance(middle, float) else "")


def _tensors(scores: Scores) -> dict[str, Tensor]:
    """What the bar and the intervals need of a block, neurons A and B."""
    in_b = scores.split_E == B
    measured = {name: value[in_b] for name, value in scores.test.items() if name != "permuted"}
    if len(scores.rotated):
        measured["rotated"] = scores.rotated
    found = {f"measured/{name}": value for name, value in measured.items()}
    found |= {f"resampled/{name}": value.half() for name, value in scores.resampled.items()}
    return {name: value.contiguous() for name, value in found.items()} | {
        "bar/own": scores.own_bar,
        "bar/mismatched": scores.mismatched_bar,
    }


def _line(job: Job, layer: int, scores: Scores) -> dict[str, Any]:
    """What is known of a block before the bar is."""
    turned = scores.rotated_population
    inputs_MD = job.subjects.inputs(layer, "train")
    null = None if turned is None else float(specialised(inputs_MD, turned, job.settings)[1].float().mean())
    donors = {int(e): int(d) for e, d in enumerate(scores.mismatched_E.tolist()) if d >= 0}
    return {
        "layer": layer,
        "neurons": scores.population.n,
        "specialised_rotated": null,
        "chosen": dict(scores.described.chosen),
        "mismatched": {str(e): scores.texts[d] for e, d in donors.items()},
        "token_lists": {str(e): scores.token_lists[e] for e in donors},
    }


def _finish(
    job: Job, folder: Path, view: CorpusView, bootstrap: ClusterBootstrap, run: Logs | None, examine: Examine | None
) -> dict[str, float]:
    parts, settings, layers = folder / PARTS, job.settings, list(job.layers)
    tensors = {layer: load_file(parts / f"layer-{layer:03d}.safetensors") for layer in layers}
    made = {layer: parse_json((parts / f"layer-{layer:03d}.json").read_text(encoding="utf-8")) for layer in layers}
    own, mismatched = (torch.cat([tensors[layer][f"bar/{name}"] for layer in layers]) for name in ("own", "mismatched"))
    level = find_bar(own, mismatched, settings.min_auroc, settings.max_false)
    if level == float("inf"):
        log.warning("no AUROC tells own words from mismatched ones on the bar's works: nothing passes")

    def part(layer: int) -> pl.DataFrame:
        return decided(pl.read_parquet(parts / f"layer-{layer:03d}.parquet"), level, settings.min_auroc)

    extra, numbers = None, dict[str, float]()
    if examine is not None:
        of_b = pl.concat([part(layer).filter(pl.col("split") == SPLITS[B]) for layer in layers])
        extra, numbers = examine(of_b, _strangers(made))

    def frames() -> Iterator[pl.DataFrame]:
        for layer in layers:
            yield part(layer) if extra is None else part(layer).update(extra, on=KEYS, how="left")

    whole = {layer: _reported([tensors[layer]], bootstrap.n_clusters) for layer in layers}
    lines = [block_row(part(layer), made[layer], whole[layer], level, settings.reader) for layer in layers]
    documents = {
        int(d) for found in frames() for name in ("exemplar_document", "unseen_document")
        for d in found[name].explode().drop_nulls()
    }  # fmt: skip
    facts = {
        **job.facts,
        "width": job.subjects.width,
        "layers": layers,
        "reader": settings.reader,
        "bar": None if level == float("inf") else level,
        "min_auroc": settings.min_auroc,
        "active_quantile": settings.active_quantile,
        "min_contexts": settings.min_contexts,
        "histogram_edges": EDGES.tolist(),
        "intervals": "95 %, bootstrap over source works of the test panel; neurons are held fixed",
    }
    write_dictionary(folder, frames(), contexts=view.contexts(sorted(documents)), layers=lines, facts=facts)
    table = pl.concat([found.select(_TABLE) for found in frames()])
    if run is not None:
        _show(table, run, settings.seed)
    flat = totals(table, level) | figures(
        _reported(list(tensors.values()), bootstrap.n_clusters), level, settings.reader
    )
    say(flat, settings.reader)
    return flat | numbers


def _reported(tensors: Sequence[Mapping[str, Tensor]], works: int) -> Reported:
    """Neurons B of some blocks."""
    names = sorted({key for found in tensors for key in found if key.split("/")[0] in ("measured", "resampled")})
    joined = {name: torch.cat([found[name].float() for found in tensors]) for name in names}
    measured, resampled = (
        {name.split("/")[1]: value for name, value in joined.items() if name.startswith(kind)}
        for kind in ("measured/", "resampled/")
    )
    return Reported(measured, resampled, works)


def _strangers(made: Mapping[int, Mapping[str, Any]]) -> dict[tuple[int, int, str], str]:
    """Mismatched words by block, entry and name."""
    return {
        (layer, int(entry), name): text
        for layer, line in made.items()
        for name in ("mismatched", "token_lists")
        for entry, text in line[name].items()
    }


def _show(table: pl.DataFrame, run: Logs, seed: int) -> None:
    """A table of entries, some that pass and some of all."""
    columns = ["layer", "neuron", "sign", "description", "grade", "label", "passes", "auroc", "nearest", "last_token"]
    passing = table.filter("passes")
    few = [rows.sample(min(TABLE_ROWS // 2, len(rows)), seed=seed) for rows in (passing, table)]
    run.table("dictionary", columns, pl.concat(few).unique(maintain_order=True).select(columns).rows())


def pick_layers(named: Sequence[int] | None, known: Sequence[int]) -> list[int]:
    """Blocks of the dictionary, ascending; all of them where none are named.

    Raises:
        NlaeError: one that the target does not have.
    """
    layers = sorted(known if named is None else (int(layer) for layer in named))
    wrong = [layer for layer in layers if layer not in known]
    if wrong:
        raise NlaeError(f"dictionary.layers holds {wrong[0]}: the target has layers {known[0]} to {known[-1]}")
    return layers
