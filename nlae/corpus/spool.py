"""Rows on disk while a corpus is built: appended in chunks, then mapped and read in any order.

What stays in memory is one chunk and, with whoever wrote them, the row numbers. Spools do not outlive a build: a kill
leaves at most a hidden folder that the next build removes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlae.files.arrow import on_disk

CHUNK = 2048

Ints = npt.NDArray[np.int64]


class TableWriter:
    """An Arrow stream that is written chunk by chunk.

    Args:
        path: the file.
        schema: of the rows.
        chunk: rows held in memory, and rows of each batch on disk.
    """

    def __init__(self, path: Path, schema: pa.Schema, chunk: int = CHUNK) -> None:
        self.path, self.schema, self.chunk = path, schema, chunk
        self.count = 0
        self._rows: dict[str, list[Any]] = {name: [] for name in schema.names}
        with on_disk(path):
            self._file = pa.OSFile(str(path), "wb")
            self._out = pa.ipc.new_stream(self._file, schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
            with on_disk(self.path):
                self._out.close()
        finally:
            self._file.close()

    def add(self, **row: Any) -> int:
        """Append one row; returns its number.

        Raises:
            NlaeError: the disk is full.
        """
        for name, values in self._rows.items():
            values.append(row[name])
        self.count += 1
        if self.count % self.chunk == 0:
            self.flush()
        return self.count - 1

    def flush(self) -> None:
        """Write what is held.

        Raises:
            NlaeError: the disk is full.
        """
        held = len(next(iter(self._rows.values())))
        if not held and self.count:
            return
        columns = [pa.array(self._rows[field.name], field.type) for field in self.schema]
        # here and not around whoever reads: what fails there has other reasons than this disk
        with on_disk(self.path):
            self._write(pa.record_batch(columns, schema=self.schema))
        for values in self._rows.values():
            values.clear()

    def _write(self, batch: pa.RecordBatch) -> None:
        self._out.write_batch(batch)


def mapped(path: Path) -> pa.Table:
    """A finished file, mapped into memory."""
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def read_in_order(table: pa.Table, order: Ints, columns: list[str], chunk: int = CHUNK) -> Iterator[pa.RecordBatch]:
    """Rows of a mapped table in the given order, in batches of at most `chunk` rows.

    Taken batch by batch: of a table in many pieces, Arrow would copy all of a column first.
    """
    pieces = table.select(columns).to_batches()
    bounds = np.cumsum([0, *(piece.num_rows for piece in pieces)])
    for start in range(0, len(order), chunk):
        wanted = order[start : start + chunk]
        piece_of = np.searchsorted(bounds, wanted, side="right") - 1
        by_piece = np.argsort(piece_of, kind="stable")
        parts = [
            pieces[number].take(pa.array(wanted[piece_of == number] - bounds[number])) for number in np.unique(piece_of)
        ]
        back = np.empty(len(wanted), dtype=np.int64)
        back[by_piece] = np.arange(len(wanted))
        together = pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
        yield together.take(pa.array(back))
