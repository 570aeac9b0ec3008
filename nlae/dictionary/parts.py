"""The whole dictionary: blocks one after the other, each kept when it is finished, then one bar and one file for all.

A killed build goes on with the first block that is not finished. Memory is that of one block.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import load_file, save_file

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.entries import write_dictionary
from nlae.dictionary.figures import STRENGTHS, Reported, block_row, figures, say, totals
from nlae.dictionary.judge.examiner import Examiner
from nlae.dictionary.scan.parts import RESUME
from nlae.dictionary.schema import SPLITS
from nlae.dictionary.score.block import Scores, score_block
from nlae.dictionary.score.frame import decided, frame
from nlae.dictionary.score.passing import bar
from nlae.dictionary.score.population import B
from nlae.dictionary.subjects.neurons import Subjects
from nlae.dictionary.words.corpus_view import CorpusView
from nlae.dictionary.words.describing import Words
from nlae.dictionary.words.picking import Bags
from nlae.dictionary.words.vocabulary import Vocabulary
from nlae.files.arrow import replacing, write_text
from nlae.files.foreign import parse_json
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.randomness import derive_seed
from nlae.target import Target
from nlae.terminal.progress import Bar
from nlae.tracking import Run

log = logging.getLogger(__name__)
KEYS = ["layer", "neuron", "sign"]
TABLE_ROWS = 64
_SHOWN = [*KEYS, "description", "grade", "label", "passes", "auroc", "nearest", "last_token"]
_COUNTED = ("split", "specialised", *STRENGTHS)


class Parts:
    """Blocks on their way to one dictionary."""

    def __init__(
        self, asked: DictionaryBuilder, subjects: Subjects, view: CorpusView, folder: Path, layers: Sequence[int]
    ) -> None:
        self._asked, self._subjects, self._view, self._folder = asked, subjects, view, folder
        self._layers = list(layers)
        works, seed = list(subjects.panel("test").source), derive_seed(asked.seed, "works")
        self._bootstrap = ClusterBootstrap(works, seed, asked.resamples)
        (folder / RESUME).mkdir(parents=True, exist_ok=True)

    def path(self, layer: int, kind: str) -> Path:
        """Of one file of a block."""
        return self._folder / RESUME / f"layer-{layer:03d}.{kind}"

    def make(self, target: Target, examiner: Examiner) -> None:
        """Describe and score the blocks that are not finished yet."""
        left = [layer for layer in self._layers if not self.path(layer, "json").is_file()]
        if not left:
            return
        asked, subjects, view = self._asked, self._subjects, self._view
        train = subjects.panel("train")
        entries = (2 if subjects.signed else 1) * subjects.width * len(left)
        said = "dictionary: %s entries in %d blocks, words from %s contexts of training works"
        log.info(said, f"{entries:,}", len(left), f"{len(train):,}")
        model: Any = target.model
        embedding_VD = model.get_input_embeddings().weight.detach().float().cpu()
        vocabulary = Vocabulary(target.tokenizer, embedding_VD, view.token_counts)
        words = Words(vocabulary, Bags(view.corpus, train, vocabulary, asked.window), asked)
        with Bar("blocks described", len(left)) as shown:
            for layer in left:
                teach = None if asked.teacher is None else partial(examiner.taught, layer)
                scores = score_block(words, subjects, layer, self._bootstrap, teach)
                found = frame(scores, subjects, layer, view, vocabulary, asked)
                with replacing(self.path(layer, "parquet")) as temporary:
                    found.write_parquet(temporary)
                with replacing(self.path(layer, "safetensors")) as temporary:
                    save_file(dict(scores.tensors), temporary)
                write_text(self.path(layer, "json"), json.dumps(self._line(layer, scores), allow_nan=False))
                middle = found["auroc"].median()
                shown.advance(note=f"block {layer}: median AUROC {middle:.2f}" if isinstance(middle, float) else "")

    def _line(self, layer: int, scores: Scores) -> dict[str, Any]:
        """What is known of a block before the bar is."""
        return {
            "layer": layer,
            "neurons": scores.population.n,
            "specialised_rotated": scores.specialised_rotated,
            "chosen": dict(scores.described.chosen),
            **scores.others,
        }

    def finish(self, examiner: Examiner, facts: Mapping[str, Any], run: Run | None) -> dict[str, float]:
        """Set the bar and write the dictionary, with what judges say where any are; returns its flat metrics."""
        asked, layers = self._asked, self._layers
        tensors = [load_file(self.path(layer, "safetensors")) for layer in layers]
        made = [parse_json(self.path(layer, "json").read_text(encoding="utf-8")) for layer in layers]
        own, mismatched = (torch.cat([found[f"bar/{n}"] for found in tensors]) for n in ("own", "mismatched"))
        level = bar(own, mismatched, asked.min_auroc, asked.max_false)
        if level == float("inf"):
            log.warning("no AUROC tells own words from mismatched ones on the bar's works: nothing passes")

        def part(layer: int) -> pl.DataFrame:
            return decided(pl.read_parquet(self.path(layer, "parquet")), level, asked.min_auroc)

        extra, numbers = None, dict[str, float]()
        if examiner.wanted:
            of_b = pl.concat([part(layer).filter(pl.col("split") == SPLITS[B]) for layer in layers])
            kinds = [(line, kind) for line in made for kind in ("mismatched", "token_lists")]
            others = {(line["layer"], int(entry), kind): t for line, kind in kinds for entry, t in line[kind].items()}
            extra, numbers = examiner.examine(of_b, others)

        def frames() -> Iterator[pl.DataFrame]:
            for layer in layers:
                yield part(layer) if extra is None else part(layer).update(extra, on=KEYS, how="left")

        works, reader = self._bootstrap.n_clusters, asked.reader
        rows = [
            block_row(part(line["layer"]), line, Reported.of([found], works), level, reader)
            for line, found in zip(made, tensors, strict=True)
        ]
        places = ("exemplar_document", "unseen_document")
        documents = {int(d) for found in frames() for name in places for d in found[name].explode().drop_nulls()}
        contexts = self._view.contexts(sorted(documents))
        write_dictionary(self._folder, frames(), contexts=contexts, layers=rows, facts={**facts, **self._facts(level)})
        table = pl.concat([found.select(*_SHOWN, *_COUNTED) for found in frames()])
        if run is not None:
            halves = (table.filter("passes"), table)
            few = [rows.sample(min(TABLE_ROWS // 2, len(rows)), seed=asked.seed) for rows in halves]
            run.table("dictionary", _SHOWN, pl.concat(few).unique(maintain_order=True).select(_SHOWN).rows())
        flat = totals(table, level) | figures(Reported.of(tensors, works), level, reader)
        say(flat, reader)
        return flat | numbers

    def _facts(self, level: float) -> dict[str, Any]:
        asked = self._asked
        return {
            "width": self._subjects.width,
            "layers": self._layers,
            "reader": asked.reader,
            "bar": None if level == float("inf") else level,
            **{name: getattr(asked, name) for name in ("min_auroc", "active_quantile", "min_contexts")},
            "intervals": "95 %, bootstrap over source works of the test panel; neurons are held fixed",
        }
