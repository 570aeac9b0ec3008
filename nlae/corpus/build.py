"""From a source to a corpus folder: read, choose, cut, split, draw positions.

Everything is a function of the source's content, its settings and the tokenizer; the target's layers play no part, so
that layers and sites are compared on the same rows. Texts and tokens pass through files chunk by chunk; what grows in
memory is names of works and a few hundred bytes of numbers per passage.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlae.corpus.base import CorpusSource
from nlae.corpus.choosing import choose
from nlae.corpus.corpus import DOCUMENTS, ROWS, SPLITS
from nlae.corpus.passages import SHORT, Cutter, draw_positions
from nlae.corpus.splits import near_duplicate_links, shares, split_works
from nlae.corpus.spool import TableWriter, read_in_order
from nlae.files.arrow import on_disk, replacing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLUSTERS = 30  # fewer works in the test split than this give no interval
Ints = npt.NDArray[np.int64]
logger = logging.getLogger(__name__)

_DOCUMENTS = pa.schema(
    {
        "document": pa.int64(),
        "id": pa.string(),
        "origin": pa.string(),
        "source": pa.string(),
        "split": pa.string(),
        "text": pa.string(),
        "input_ids": pa.list_(pa.int32()),
    }
)
_ROWS = pa.schema(
    {"row": pa.int64(), "document": pa.int64(), "position": pa.int32(), "split": pa.string(), "token_id": pa.int32()}
)
_ROWS_CHUNK = 1 << 16


def build_corpus(source: CorpusSource, tokenizer: PreTrainedTokenizerBase, folder: Path) -> dict[str, float]:
    """Write `documents.arrow` and `rows.arrow` to `folder`.

    Args:
        source: the documents and the settings of the cut.
        tokenizer: of the target.
        folder: where to write; each file appears whole or not at all.

    Returns:
        Counts, as metrics.

    Raises:
        NlaeError: nothing to read, nothing long enough, too few works to split, or the disk is full.
    """
    folder = Path(folder)
    scratch = folder / ".build"
    shutil.rmtree(scratch, ignore_errors=True)  # of a build that was killed
    counts: dict[str, float] = {"short_documents": 0, "copies": 0}
    try:
        with on_disk(scratch):
            scratch.mkdir(parents=True)
        passages, order = choose(source, Cutter(tokenizer, source.max_tokens), counts, scratch)
        works = _works(source, passages, order)
        links: list[tuple[str, str]] = []
        if source.near_duplicates is not None:
            texts = (text.as_py() for batch in read_in_order(passages, order, ["text"]) for text in batch["text"])
            links = near_duplicate_links(texts, works, source.near_duplicates)
        split_of = split_works(
            sorted(set(works)), links, val_share=source.val_share, test_share=source.test_share, seed=source.seed
        )
        found = _write(source, passages, order, works, split_of, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return counts | _metrics(found, split_of, len(links))


def _works(source: CorpusSource, passages: pa.Table, order: Ints) -> list[str]:
    """The work of each passage; one string for all passages of a work."""
    column = "id" if source.split_by == "document" else "source"
    known: dict[str, str] = {}
    names = (name.as_py() for batch in read_in_order(passages, order, [column]) for name in batch[column])
    return [known.setdefault(name, name) for name in names]


def _write(
    source: CorpusSource, passages: pa.Table, order: Ints, works: list[str], split_of: dict[str, str], folder: Path
) -> Counter[str]:
    """Write both tables side by side; returns what was counted on the way."""
    found: Counter[str] = Counter()
    with (
        replacing(folder / DOCUMENTS) as documents_path,
        replacing(folder / ROWS) as rows_path,
        TableWriter(documents_path, _DOCUMENTS) as documents,
        TableWriter(rows_path, _ROWS, _ROWS_CHUNK) as rows,
    ):
        for number, passage in enumerate(_passages(passages, order)):
            ids, work = passage["input_ids"].values.to_numpy(), works[number]
            split = split_of[work]
            fields = {name: passage[name].as_py() for name in ("id", "origin", "text")}
            documents.add(document=number, **fields, source=work, split=split, input_ids=ids)
            found.update({"documents": 1, f"documents_{split}": 1, "tokens": len(ids)})
            positions = draw_positions(
                fields["id"],
                len(ids),
                count=source.positions_per_document,
                first=source.first_position,
                short_share=source.short_share,
                seed=source.seed,
            )
            for position in positions:
                rows.add(row=rows.count, document=number, position=position, split=split, token_id=int(ids[position]))
            found.update({"rows": len(positions), f"rows_{split}": len(positions)})
            if split == "test":
                found["rows_test_long"] += sum(position >= SHORT for position in positions)
    return found


def _passages(passages: pa.Table, order: Ints) -> Iterator[dict[str, Any]]:
    columns = ["id", "origin", "text", "input_ids"]
    for batch in read_in_order(passages, order, columns):
        for i in range(batch.num_rows):
            yield {name: batch[name][i] for name in columns}


def _metrics(found: Counter[str], split_of: dict[str, str], links: int) -> dict[str, float]:
    work_counts = shares(list(split_of.values()))
    if work_counts["test"] < CLUSTERS:
        logger.warning(
            "the test split has %d source works, and fewer than %d give no intervals: give more works or raise "
            "corpus.test_share",
            work_counts["test"],
            CLUSTERS,
        )
    if not found["rows_test_long"]:
        logger.warning("no test row has more than %d tokens of context: the quote frontier will be empty", SHORT)
    metrics: dict[str, float] = {
        "documents": found["documents"],
        "works": len(split_of),
        "rows": found["rows"],
        "tokens": found["tokens"],
        "near_duplicate_pairs": links,
        "rows_test_long": found["rows_test_long"],
    }
    for split in SPLITS:
        metrics |= {
            f"works_{split}": work_counts[split],
            f"documents_{split}": found[f"documents_{split}"],
            f"rows_{split}": found[f"rows_{split}"],
        }
    return metrics
