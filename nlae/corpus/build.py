"""From a source to a corpus folder: read, choose, cut, split, draw positions.

Everything is a function of the source's content, its settings and the tokenizer; the target's layers play no part, so
that layers and sites are compared on the same rows.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from nlae.corpus.corpus import DOCUMENTS, ROWS, SPLITS
from nlae.corpus.passages import SHORT, Cutter, Passage, draw_positions
from nlae.corpus.source import CorpusSource, Document, stable_hash
from nlae.corpus.splits import near_duplicate_links, shares, split_works
from nlae.errors import NlaeError
from nlae.progress import track
from nlae.store.arrow import write_table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLUSTERS = 30  # fewer works in the test split than this give no interval
logger = logging.getLogger(__name__)


def build_corpus(source: CorpusSource, tokenizer: PreTrainedTokenizerBase, folder: Path) -> dict[str, float]:
    """Write `documents.arrow` and `rows.arrow` to `folder`.

    Args:
        source: the documents and the settings of the cut.
        tokenizer: of the target.
        folder: where to write; each file appears whole or not at all.

    Returns:
        Counts, as metrics.

    Raises:
        NlaeError: nothing to read, nothing long enough, or too few works to split.
    """
    counts: dict[str, float] = {"short_documents": 0, "copies": 0}
    passages = _choose(source, Cutter(tokenizer, source.max_tokens), counts)
    works = [passage.id if source.split_by == "document" else passage.source for passage in passages]
    links: list[tuple[str, str]] = []
    if source.near_duplicates is not None:
        links = near_duplicate_links([passage.text for passage in passages], works, source.near_duplicates)
    split_of = split_works(
        sorted(set(works)), links, val_share=source.val_share, test_share=source.test_share, seed=source.seed
    )
    documents = _documents_table(passages, works, [split_of[work] for work in works])
    rows = _rows_table(source, passages, documents["split"].to_pylist())
    folder = Path(folder)
    write_table(folder / DOCUMENTS, documents)
    write_table(folder / ROWS, rows)
    return counts | _metrics(documents, rows, split_of, len(links))


def _choose(source: CorpusSource, cutter: Cutter, counts: dict[str, float]) -> list[Passage]:
    """Passages in reading order: all of them, or `max_documents` taken from the works in turn."""
    stream = source.documents()
    limit = source.max_documents
    if source.streaming:
        if limit is None:
            raise NlaeError("corpus.max_documents must be set for a corpus that is streamed")
        kept = list(itertools.islice(_usable(source, cutter, stream, counts), limit))
    else:
        order: dict[str, int] = {}
        by_work: dict[str, list[Document]] = {}
        for number, document in enumerate(stream):
            order[document.id] = number
            by_work.setdefault(document.source, []).append(document)
        turns = _in_turn(source, cutter, by_work, counts)
        total = limit or sum(len(documents) for documents in by_work.values())
        kept = list(track(itertools.islice(turns, limit), total, "cutting documents"))
        kept.sort(key=lambda passage: (order[passage.origin], _number(passage)))
    if not kept:
        raise NlaeError(
            f"no document of the corpus reaches corpus.min_tokens={source.min_tokens} tokens: give longer documents or "
            "lower corpus.min_tokens"
        )
    return kept


def _in_turn(
    source: CorpusSource, cutter: Cutter, by_work: dict[str, list[Document]], counts: dict[str, float]
) -> Iterator[Passage]:
    """One passage of each work, then a second of each, …, so that any number of them spans as many works as it can."""
    seen: set[int] = set()
    works = sorted(by_work, key=lambda work: (stable_hash(source.seed, "work", work), work))
    queues = [_usable(source, cutter, _shuffled(by_work[work], source.seed), counts, seen) for work in works]
    while queues:
        going = []
        for queue in queues:
            passage = next(queue, None)
            if passage is not None:
                going.append(queue)
                yield passage
        queues = going


def _usable(
    source: CorpusSource,
    cutter: Cutter,
    documents: Iterable[Document],
    counts: dict[str, float],
    seen: set[int] | None = None,
) -> Iterator[Passage]:
    """Passages that are long enough and no copies of earlier ones."""
    seen = set() if seen is None else seen
    least = max(source.min_tokens, source.first_position + 1)
    for document in documents:
        passages = cutter.cut(document)
        for passage in sorted(passages, key=lambda p: stable_hash(source.seed, "passage", p.id)):
            content = stable_hash(passage.text)
            if len(passage.ids) < least:
                counts["short_documents"] += 1
            elif content in seen:
                counts["copies"] += 1
            else:
                seen.add(content)
                yield passage


def _shuffled(documents: list[Document], seed: int) -> list[Document]:
    return sorted(documents, key=lambda document: stable_hash(seed, "document", document.id))


def _number(passage: Passage) -> int:
    rest = passage.id.removeprefix(passage.origin)
    return int(rest[1:]) if rest else 0


def _documents_table(passages: list[Passage], works: list[str], splits: list[str]) -> pa.Table:
    return pa.table(
        {
            "document": pa.array(range(len(passages)), pa.int64()),
            "id": pa.array([passage.id for passage in passages], pa.string()),
            "origin": pa.array([passage.origin for passage in passages], pa.string()),
            "source": pa.array(works, pa.string()),
            "split": pa.array(splits, pa.string()),
            "text": pa.array([passage.text for passage in passages], pa.string()),
            "input_ids": pa.array([passage.ids for passage in passages], pa.list_(pa.int32())),
        }
    )


def _rows_table(source: CorpusSource, passages: list[Passage], splits: list[str]) -> pa.Table:
    places = [
        (number, position)
        for number, passage in enumerate(passages)
        for position in draw_positions(
            passage.id,
            len(passage.ids),
            count=source.positions_per_document,
            first=source.first_position,
            short_share=source.short_share,
            seed=source.seed,
        )
    ]
    return pa.table(
        {
            "row": pa.array(range(len(places)), pa.int64()),
            "document": pa.array([number for number, _ in places], pa.int64()),
            "position": pa.array([position for _, position in places], pa.int32()),
            "split": pa.array([splits[number] for number, _ in places], pa.string()),
            "token_id": pa.array([passages[number].ids[position] for number, position in places], pa.int32()),
        }
    )


def _metrics(documents: pa.Table, rows: pa.Table, split_of: dict[str, str], links: int) -> dict[str, float]:
    work_counts = shares(list(split_of.values()))
    document_counts = shares(documents["split"].to_pylist())
    row_counts = shares(rows["split"].to_pylist())
    test_positions = [
        p for p, s in zip(rows["position"].to_pylist(), rows["split"].to_pylist(), strict=True) if s == "test"
    ]
    long_test = sum(position >= SHORT for position in test_positions)
    if work_counts["test"] < CLUSTERS:
        logger.warning(
            "the test split has %d source works, and fewer than %d give no intervals: give more works or raise "
            "corpus.test_share",
            work_counts["test"],
            CLUSTERS,
        )
    if not long_test:
        logger.warning("no test row has more than %d tokens of context: the quote frontier will be empty", SHORT)
    metrics: dict[str, float] = {
        "documents": documents.num_rows,
        "works": len(split_of),
        "rows": rows.num_rows,
        "tokens": sum(len(ids) for ids in documents["input_ids"].to_pylist()),
        "near_duplicate_pairs": links,
        "rows_test_long": long_test,
    }
    for split in SPLITS:
        metrics |= {
            f"works_{split}": work_counts[split],
            f"documents_{split}": document_counts[split],
            f"rows_{split}": row_counts[split],
        }
    return metrics
