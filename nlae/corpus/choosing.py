"""Which passages of a source become the corpus, with texts on disk and only numbers in memory.

Documents are written to a spool as they are read, and passages to another as they are cut. What is kept of a passage is
its row number, its document's, and a hash of its text.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlae.corpus.base import Broken, CorpusSource, Document, stable_hash
from nlae.corpus.passages import Cutter, RefusedError
from nlae.corpus.spool import TableWriter, mapped
from nlae.errors import NlaeError
from nlae.files.foreign import parse_json
from nlae.terminal.progress import track

Ints = npt.NDArray[np.int64]
NAMED = 5  # broken records that are named in the log
HOPELESS = 100  # so many broken records and not a good one: no need to read on
log = logging.getLogger(__name__)

_DOCUMENTS = pa.schema(
    {"id": pa.string(), "source": pa.string(), "text": pa.large_string(), "messages": pa.large_string()}
)
PASSAGES = pa.schema(
    {
        "id": pa.string(),
        "origin": pa.string(),
        "source": pa.string(),
        "text": pa.string(),
        "input_ids": pa.list_(pa.int32()),
    }
)


def choose(source: CorpusSource, cutter: Cutter, counts: dict[str, float], folder: Path) -> tuple[pa.Table, Ints]:
    """Cut and choose: all passages that are long enough and no copies, or `max_documents` of them.

    Args:
        source: documents and settings.
        cutter: of the target's tokenizer.
        counts: `short_documents` and `copies` are counted up.
        folder: for the spools.

    Returns:
        A table of passages, mapped from `folder`, and the rows of it that are kept, in reading order.

    Raises:
        NlaeError: nothing is long enough, or a stream without an end.
    """
    limit = source.max_documents
    if source.streaming and limit is None:
        raise NlaeError("corpus.max_documents must be set for a corpus that is streamed")
    path = folder / "passages.arrow"
    with ExitStack() as stack:
        readable = _Readable(source, counts)
        documents = None if source.streaming else _spooled(readable, folder / "documents.arrow")
        chooser = _Chooser(source, cutter, counts, stack.enter_context(TableWriter(path, PASSAGES)), readable)
        if documents is None:
            kept = _first(chooser.stream(), limit)
        else:
            total = limit or len(documents)
            kept = _first(track(chooser.in_turn(documents), total, "cutting documents"), limit)
    readable.check()
    if not kept:
        raise NlaeError(
            f"no document of the corpus reaches corpus.min_tokens={source.min_tokens} tokens: give longer documents or "
            "lower corpus.min_tokens"
        )
    rows = np.frombuffer(kept, dtype=np.int64)
    if documents is not None:
        # reading order: by document, then by place in it
        document = np.frombuffer(chooser.document, dtype=np.int64)[rows]
        place = np.frombuffer(chooser.place, dtype=np.int64)[rows]
        rows = rows[np.lexsort((place, document))]
    return mapped(path), rows


class _Readable:
    """The documents of a source, without the records that are broken: these are counted, and the first ones named."""

    def __init__(self, source: CorpusSource, counts: dict[str, float]) -> None:
        self._source, self._counts = source, counts
        self._read = 0
        self._first: Broken | None = None
        counts |= dict.fromkeys(("broken_records", "parts_left_out", "messages_left_out"), 0)

    def __iter__(self) -> Iterator[Document]:
        for document in self._source.documents():
            self._read += 1
            if isinstance(document, Broken):
                self.broken(document)
                continue
            self._counts["parts_left_out"] += document.parts_left_out
            self._counts["messages_left_out"] += document.messages_left_out
            yield document

    def broken(self, record: Broken) -> None:
        """Count one."""
        self._first = self._first or record
        self._counts["broken_records"] += 1
        count = self._counts["broken_records"]
        if count <= NAMED:
            log.warning("%s is left out: %s", record.where, record.why)
        if count == self._read >= HOPELESS:
            self.check()

    def check(self) -> None:
        """Raises: NlaeError, when more are broken than `max_broken_share` allows; says what else was left out."""
        count, allowed = int(self._counts["broken_records"]), self._source.max_broken_share
        if self._first is not None and count > allowed * self._read:
            raise NlaeError(
                f"{self._first.where}: {self._first.why} ({count} of {self._read} records cannot be read: mend "
                f"them, or leave them out with corpus.max_broken_share above {allowed:g})"
            )
        for name in ("broken_records", "parts_left_out", "messages_left_out"):
            if self._counts[name]:
                log.warning("corpus: %d %s", int(self._counts[name]), _LEFT_OUT[name])


_LEFT_OUT = {
    "broken_records": "broken record(s) left out",
    "parts_left_out": "image(s) or other parts of messages that are no text left out",
    "messages_left_out": "message(s) without text left out, such as bare tool calls",
}


class _Chooser:
    """Cuts documents one at a time and remembers, of every usable passage, its row, its document and its place."""

    def __init__(
        self,
        source: CorpusSource,
        cutter: Cutter,
        counts: dict[str, float],
        passages: TableWriter,
        readable: _Readable,
    ) -> None:
        self.source, self.cutter, self.counts, self.passages = source, cutter, counts, passages
        self.readable = readable
        self.document, self.place = array("q"), array("q")
        self._seen: set[int] = set()
        self._content = array("Q")
        self._least = max(source.min_tokens, source.first_position + 1)

    def stream(self) -> Iterator[int]:
        """Rows in the order of the source."""
        for number, document in enumerate(self.readable):
            yield from filter(self._new, self._cut(number, document))

    def in_turn(self, documents: _Documents) -> Iterator[int]:
        """One passage of each work, then a second, …, so that any number of them spans as many works as it can."""
        order, bounds = documents.by_work(self.source.seed)
        queue = _Queues(order, bounds[:-1].copy(), bounds[1:], *np.zeros((2, len(bounds) - 1), dtype=np.int64))
        going = np.arange(len(bounds) - 1)
        while len(going):
            left = array("q")
            for work in going:
                row = self._next(documents, queue, int(work))
                if row is not None:
                    left.append(int(work))
                    yield row
            going = np.frombuffer(left, dtype=np.int64)

    def _next(self, documents: _Documents, queue: _Queues, work: int) -> int | None:
        """The next new passage of a work, cutting its next document where one is used up."""
        while True:
            while queue.row[work] < queue.row_stop[work]:
                row = int(queue.row[work])
                queue.row[work] += 1
                if self._new(row):
                    return row
            if queue.document[work] == queue.document_stop[work]:
                return None
            number = int(queue.order[queue.document[work]])
            queue.document[work] += 1
            rows = self._cut(number, documents[number])
            queue.row[work], queue.row_stop[work] = rows.start, rows.stop

    def _cut(self, number: int, document: Document) -> range:
        """Rows of the passages that are long enough, in the order in which they are drawn."""
        try:
            cut = list(enumerate(self.cutter.cut(document)))
        except RefusedError as problem:
            cut = []
            self.readable.broken(Broken(document.id, str(problem)))
        start = self.passages.count
        for place, passage in sorted(cut, key=lambda pair: stable_hash(self.source.seed, "passage", pair[1].id)):
            if len(passage.ids) < self._least:
                self.counts["short_documents"] += 1
                continue
            self.passages.add(
                id=passage.id,
                origin=passage.origin,
                source=passage.source,
                text=passage.text,
                input_ids=np.asarray(passage.ids, dtype=np.int32),
            )
            self.document.append(number)
            self.place.append(place)
            self._content.append(stable_hash(passage.text))
        return range(start, self.passages.count)

    def _new(self, row: int) -> bool:
        """Whether no passage that was drawn before says the same."""
        content = self._content[row]
        if content in self._seen:
            self.counts["copies"] += 1
            return False
        self._seen.add(content)
        return True


@dataclasses.dataclass(frozen=True)
class _Queues:
    """What is left of each work: documents `order[document:document_stop]`, and rows of the one that was cut last."""

    order: Ints
    document: Ints
    document_stop: Ints
    row: Ints
    row_stop: Ints


class _Documents:
    """Documents of a spool by number."""

    def __init__(self, path: Path) -> None:
        self._table = mapped(path)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, number: int) -> Document:
        row = {name: self._table[name][number].as_py() for name in self._table.column_names}
        messages = None if row["messages"] is None else parse_json(row["messages"])
        return Document(row["id"], row["text"], row["source"], messages)

    def by_work(self, seed: int) -> tuple[Ints, Ints]:
        """Numbers of all documents, by work in the order of turns and by hash within it; and where each work begins."""
        encoded = self._table["source"].combine_chunks().dictionary_encode()
        work_of = encoded.indices.to_numpy().astype(np.int64)
        turn_of = np.array([stable_hash(seed, "work", name.as_py()) for name in encoded.dictionary], dtype=np.uint64)
        drawn = np.fromiter(
            (stable_hash(seed, "document", name.as_py()) for name in self._table["id"]), np.uint64, len(self)
        )
        order = np.lexsort((drawn, work_of, turn_of[work_of])).astype(np.int64)
        changes = np.flatnonzero(np.diff(work_of[order])) + 1
        return order, np.concatenate([[0], changes, [len(order)]]).astype(np.int64)


def _spooled(source: Iterable[Document], path: Path) -> _Documents:
    with TableWriter(path, _DOCUMENTS) as out:
        for document in source:
            messages = None if document.messages is None else json.dumps([dict(turn) for turn in document.messages])
            out.add(id=document.id, source=document.source, text=document.text, messages=messages)
    return _Documents(path)


def _first(rows: Iterator[int], limit: int | None) -> array[int]:
    kept = array("q")
    for row in rows:
        kept.append(row)
        if len(kept) == limit:
            break
    return kept
