"""The finished corpus: passages with their split, and the rows (passage, position) that every layer and site shares."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlae.files.arrow import read_table, strings

DOCUMENTS, ROWS = "documents.arrow", "rows.arrow"
SPLITS = ("train", "val", "test")
_REBUILD = "delete its folder and run `nlae corpus` with the same overrides"

Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.object_]


@dataclasses.dataclass(frozen=True)
class RowColumns:
    """All rows, as columns; `row[i] == i`.

    Attributes:
        row, document, position, token_id: int64[n].
        split: object[n].
    """

    row: Ints
    document: Ints
    position: Ints
    token_id: Ints
    split: Strings

    def __len__(self) -> int:
        return len(self.row)


class Corpus:
    """Passages and rows, mapped from disk.

    Attributes:
        documents: Arrow table (document, id, origin, source, split, text, input_ids); `document` counts from 0.
        rows: the rows as columns.
    """

    def __init__(self, documents: pa.Table, rows: pa.Table) -> None:
        self.documents = documents
        columns = {name: rows[name].to_numpy().astype(np.int64) for name in ("row", "document", "position", "token_id")}
        self.rows = RowColumns(**columns, split=strings(rows["split"]))

    @classmethod
    def open(cls, folder: Path | str) -> Corpus:
        """Map what `build_corpus` wrote.

        Raises:
            NlaeError: nothing there, or a damaged file.
        """
        folder = Path(folder)
        return cls(read_table(folder / DOCUMENTS, _REBUILD), read_table(folder / ROWS, _REBUILD))

    def __len__(self) -> int:
        """Number of passages."""
        return int(self.documents.num_rows)

    @cached_property
    def id(self) -> list[str]:
        """Passage id per document."""
        return self._strings("id")

    @cached_property
    def source(self) -> list[str]:
        """Source work per document."""
        return self._strings("source")

    @cached_property
    def split(self) -> list[str]:
        """Split per document."""
        return self._strings("split")

    def text(self, document: int) -> str:
        """The passage's text."""
        return str(self.documents["text"][int(document)].as_py())

    def input_ids(self, document: int) -> list[int]:
        """The passage's tokens."""
        ids: list[int] = self.documents["input_ids"][int(document)].as_py()
        return ids

    def token_ids(self, document: int) -> Ints:
        """As `input_ids`, as int64[n]."""
        return np.asarray(self.documents["input_ids"][int(document)].values.to_numpy(), dtype=np.int64)

    def sources_of(self, document_N: Ints) -> list[str]:
        """The source works of some documents, looked up where they lie: a list of all may be large."""
        return [str(self.documents["source"][int(document)].as_py()) for document in document_N]

    def context_ids(self, row: int) -> list[int]:
        """All tokens of the passage up to and including the row's position."""
        return self.input_ids(int(self.rows.document[row]))[: int(self.rows.position[row]) + 1]

    def next_id(self, row: int) -> int | None:
        """The token after the row's position; None where the passage ends there."""
        rest = self.token_ids(int(self.rows.document[row]))[int(self.rows.position[row]) + 1 :]
        return int(rest[0]) if len(rest) else None

    def prefix_text(self, row: int, tokenizer: Any) -> str:
        """The text up to and including the row's position, without special tokens."""
        ids = self.context_ids(row)
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def document_hashes(self, split: str) -> list[str]:
        """Sorted hashes of the uncut documents' ids in one split: how a checkpoint remembers what it trained on."""
        origins = {o for o, s in zip(self._strings("origin"), self.split, strict=True) if s == split}
        return sorted(hashlib.sha256(origin.encode()).hexdigest()[:16] for origin in origins)

    def _strings(self, column: str) -> list[str]:
        values: list[str] = self.documents[column].to_pylist()
        return values
