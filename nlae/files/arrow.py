"""Arrow files that are either whole or absent.

The stream format, because that is what `datasets.Dataset.from_file` maps into memory. No Parquet here: `datasets` would
decompress it into a cache of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlae.errors import NlaeError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` (fsync, rename) if the block ends well, and vanishes if it does not.

    Raises:
        NlaeError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    # one name for all attempts: what a killed process left is overwritten (each stage's folder has one writer, by lock)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with on_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Name what was being written when the disk is full or refuses.

    Raises:
        NlaeError: instead of any OSError of the block.
    """
    try:
        yield
    except OSError as problem:
        raise NlaeError(
            f"cannot write {path}: {problem.strerror or problem}; "
            "free some space (or set paths.artifacts to another disk) and run the same command again"
        ) from problem


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` to `path` whole or not at all, in one batch so that its columns can be used as they lie."""
    with replacing(path) as temporary, temporary.open("wb") as handle, pa.ipc.new_stream(handle, table.schema) as out:
        out.write_table(table.combine_chunks())


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_table(path: Path, rebuild: str) -> pa.Table:
    """Map the Arrow stream at `path` into memory.

    Args:
        path: the file.
        rebuild: what the user should run when the file is missing or damaged.

    Raises:
        NlaeError: the file is missing, truncated or not Arrow.
    """
    if not path.is_file():
        raise NlaeError(f"{path} is missing: {rebuild}")
    from datasets import Dataset  # here and not above: it takes a second to import

    try:
        return Dataset.from_file(str(path)).data.table
    except (pa.ArrowException, OSError, EOFError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise NlaeError(f"{path} is truncated or damaged ({_first_line(problem)}): {rebuild}") from problem


def strings(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """A column of names that repeat, object[n]: eight bytes a row, since equal names of a chunk are one object."""
    parts = [np.zeros(0, dtype=object)]
    for chunk in column.chunks:
        encoded = chunk.dictionary_encode()
        names = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)[:-1]
        parts.append(names[encoded.indices.to_numpy()])
    return np.concatenate(parts)


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """A rename survives a power cut only once the folder itself is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(problem: BaseException) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]
