"""Explanations of the warm start, one per row, as the teacher wrote them.

How they come about (caches, retries, prices) is the teacher's business; this is only the finished table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from nlae.files.arrow import read_table, write_table

FILE = "descriptions.arrow"
_REBUILD = "run `nlae describe` with the same overrides"


class Descriptions:
    """Row number → text. Rows the teacher could not describe are absent.

    Attributes:
        rows: int64[n], ascending.
    """

    def __init__(self, texts: Mapping[int, str]) -> None:
        self._texts = dict(sorted(texts.items()))
        self.rows = np.fromiter(self._texts, dtype=np.int64, count=len(self._texts))

    @classmethod
    def open(cls, folder: Path) -> Descriptions:
        """Read what `write` left in `folder`.

        Raises:
            NlaeError: no descriptions there, or a damaged file.
        """
        table = read_table(Path(folder) / FILE, _REBUILD)
        return cls(dict(zip(table["row"].to_pylist(), table["text"].to_pylist(), strict=True)))

    @staticmethod
    def write(folder: Path, rows: Iterable[int], texts: Iterable[str]) -> None:
        """Write the table to `folder`, sorted by row, whole or not at all.

        Raises:
            NlaeError: the disk is full.
        """
        pairs = sorted(zip(rows, texts, strict=True))
        table = pa.table(
            {
                "row": pa.array([row for row, _ in pairs], pa.int64()),
                "text": pa.array([text for _, text in pairs], pa.string()),
            }
        )
        write_table(Path(folder) / FILE, table)

    def text(self, row: int) -> str:
        """The explanation of `row`; KeyError where there is none."""
        return self._texts[int(row)]

    def get(self, row: int, default: str = "") -> str:
        """The explanation of `row`, or `default`."""
        return self._texts.get(int(row), default)

    def __contains__(self, row: object) -> bool:
        return row in self._texts

    def __len__(self) -> int:
        return len(self._texts)
