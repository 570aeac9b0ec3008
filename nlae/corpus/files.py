"""Text files of the user: txt, md, jsonl, parquet.

What a work is comes from the file (one work a file), from a field, from a pattern on the ids, or from headings in the
text. Formats that need a parser of their own (PDF, HTML, Word) are left out: convert them to text first.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import glob
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nlae.corpus.base import Broken, CorpusSource, Document
from nlae.corpus.cleaning import detokenise, lines_of, prose
from nlae.corpus.records import Fields, read_record, whole
from nlae.errors import NlaeError
from nlae.files.arrow import checksum
from nlae.files.foreign import parse_json

TEXT, LINES, PARQUET = (".txt", ".md", ".markdown", ".text"), (".jsonl", ".ndjson"), (".parquet",)
CLEANERS = {"wikitext": detokenise, "rest": prose}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilesCorpus(CorpusSource):
    """Documents from files.

    Attributes:
        paths: files, folders or globs (`notes/**/*.md`).
        text_key, messages_key, id_key, source_key: fields of jsonl lines and parquet rows; `text_key` may be absent
            where `messages_key` is present, the last two always.
        source_pattern: regex searched in a document's id; its first group (else the whole match) names the work.
        heading: regex for lines of text files that start a new work; its first group is the title.
        drop_lines: regex for lines of text files to leave out, such as lower headings.
        clean: None, `wikitext` (undo its tokenisation, drop `<unk>`) or `rest` (prose of reStructuredText).
    """

    paths: Sequence[str] | str = ()
    text_key: str = "text"
    messages_key: str = "messages"
    id_key: str = "id"
    source_key: str = "source"
    source_pattern: str | None = None
    heading: str | None = None
    drop_lines: str | None = None
    clean: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before any file is opened."""
        super().__post_init__()
        for name in ("source_pattern", "heading", "drop_lines"):
            try:
                re.compile(getattr(self, name) or "")
            except re.error as problem:
                raise NlaeError(
                    f"corpus.{name}={getattr(self, name)!r} is no regular expression: {problem}"
                ) from problem
        if self.clean is not None and self.clean not in CLEANERS:
            raise NlaeError(f"corpus.clean={self.clean}: unknown; choose null, {' or '.join(CLEANERS)}")

    def documents(self) -> Iterator[Document | Broken]:
        """Documents by file in the order of their names."""
        seen: dict[str, int] = {}
        for name, path in self._files():
            for document in self._read(whole(name), path):
                if isinstance(document, Broken):
                    yield document
                    continue
                count = seen[document.id] = seen.get(document.id, 0) + 1
                if count > 1:  # ids must be unique; the second of a name keeps its work
                    document = dataclasses.replace(document, id=f"{document.id}~{count}")
                yield self._finish(document)

    def fingerprint(self) -> str:
        """Hash of names and contents, of the files in use."""
        digest = hashlib.sha256()
        for name, path in self._files():
            digest.update(os.fsencode(name) + b"\0")
            with _readable(path):
                digest.update(bytes.fromhex(checksum(path)))
        return "files-" + digest.hexdigest()[:32]

    def _files(self) -> list[tuple[str, Path]]:
        """(name, path), sorted; names do not hold the folder a user happens to keep the files in."""
        patterns = [self.paths] if isinstance(self.paths, str) else [str(path) for path in self.paths]
        if not patterns:
            raise NlaeError("corpus=files needs corpus.paths=[…]: files, folders or globs")
        found: dict[Path, str] = {}
        for pattern in patterns:
            base, matches = _matches(pattern)
            if not matches:
                raise NlaeError(f"corpus.paths: nothing matches {pattern}; check the path (globs: notes/**/*.md)")
            for path in matches:
                found.setdefault(path, path.relative_to(base).as_posix() if path != base else path.name)
        return sorted((name, path) for path, name in found.items())

    def _read(self, name: str, path: Path) -> Iterator[Document | Broken]:
        suffix = path.suffix.lower()
        if suffix in TEXT:
            return self._text_file(name, path)
        if suffix in LINES:
            return self._records(name, path, _json_lines(path))
        if suffix in PARQUET:
            return self._records(name, path, _parquet_rows(path))
        raise NlaeError(f"{path}: cannot read {suffix or 'files without a suffix'}; give txt, md, jsonl or parquet")

    def _text_file(self, name: str, path: Path) -> Iterator[Document]:
        stem = name.rsplit(".", 1)[0]
        text = _text(path)
        if self.heading is None:
            yield Document(stem, self._without_lines(lines_of(text)), stem)
            return
        pattern = re.compile(self.heading)
        lines: list[str] = []
        title, number = "", 0
        for line in [*lines_of(text), None]:
            match = None if line is None else pattern.search(line)
            if line is not None and match is None:
                lines.append(line)
                continue
            body = self._without_lines(lines)
            if body.strip():
                work = f"{stem}/{number:04d}{' ' if title else ''}{title}"
                yield Document(work, body, work)
            if match is not None:
                title = (match.group(1) if match.re.groups else match.group(0)).strip()
                lines, number = [], number + 1

    def _without_lines(self, lines: list[str]) -> str:
        if self.drop_lines is None:
            return "\n".join(lines)
        pattern = re.compile(self.drop_lines)
        return "\n".join(line for line in lines if not pattern.search(line))

    def _records(self, name: str, path: Path, records: Iterator[tuple[int, Any]]) -> Iterator[Document | Broken]:
        stem = name.rsplit(".", 1)[0]
        fields = Fields(self.text_key, self.messages_key, self.id_key, self.source_key)
        for number, record in records:
            where = f"{path}:{number}"
            broken = isinstance(record, Broken)
            yield record if broken else read_record(record, fields, where, f"{stem}/{number}")

    def _finish(self, document: Document) -> Document:
        source, text = document.source, document.text
        if self.source_pattern and (match := re.search(self.source_pattern, document.id)):
            source = match.group(1) if match.re.groups else match.group(0)
        if self.clean is not None:
            text = CLEANERS[self.clean](text)
        return dataclasses.replace(document, source=source, text=text)


def _matches(pattern: str) -> tuple[Path, list[Path]]:
    """The folder before the first wildcard (of a file, its own), and the files that a pattern means.

    A part that exists as it is written is no wildcard: `texts [2024]` is a folder before it is a class of characters.
    """
    path = Path(pattern).expanduser()
    try:
        if path.is_dir():
            wanted = TEXT + LINES + PARQUET
            return path, sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in wanted)
        if path.is_file():
            return path.parent, [path]
        base, places, plain = Path(path.anchor), [Path(path.anchor)], True
        for part in path.parts[1 if path.anchor else 0 :]:
            places = list(dict.fromkeys(match for place in places for match in _step(place, part)))
            plain = plain and places == [base / part]
            base = base / part if plain else base
    except (OSError, ValueError) as problem:  # a name that is too long, or holds a zero byte
        raise NlaeError(f"corpus.paths: {pattern!r} cannot be looked up ({problem}); check the path") from problem
    return base, sorted(place for place in places if place.is_file())


def _step(place: Path, part: str) -> list[Path]:
    """What one part of a pattern means in a folder."""
    if part == "**":
        return [place, *(place / inner for inner in glob.glob("**", root_dir=place, recursive=True))]
    literal = place / part
    if not glob.has_magic(part) or literal.exists():
        return [literal]
    return [place / match for match in sorted(glob.glob(part, root_dir=place))]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file that the block cannot read."""
    try:
        yield
    except OSError as problem:
        raise NlaeError(
            f"{path} cannot be read ({problem.strerror or problem}): check its permissions or leave it out"
        ) from problem


def _text(path: Path) -> str:
    with _readable(path):
        content = path.read_bytes()
    text = _decoded(path, content.removeprefix(codecs.BOM_UTF8))
    if not text.strip():
        raise NlaeError(f"{path} is empty: leave it out of corpus.paths")
    return text


def _decoded(path: Path, content: bytes) -> str:
    """Bytes of `path` as text."""
    try:
        text = content.decode()
    except UnicodeDecodeError as problem:
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        what = "UTF-16" if utf16 else f"no UTF-8 text (byte {problem.start})"
        raise NlaeError(f"{path} is {what}: convert it to UTF-8 or leave it out of corpus.paths") from problem
    if "\0" in text:
        raise NlaeError(f"{path} is binary, not text: leave it out of corpus.paths")
    return text


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line by line, since such a file may be larger than memory; a line that cannot be read is `Broken`."""
    empty = True
    with _readable(path), path.open("rb") as file:
        for number, content in enumerate(file, 1):
            if number == 1 and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise NlaeError(f"{path} is UTF-16: convert it to UTF-8 or leave it out of corpus.paths")
            line = content.removeprefix(codecs.BOM_UTF8) if number == 1 else content
            if not line.strip():
                continue
            empty = False
            try:
                yield number, parse_json(line.decode())
            except UnicodeDecodeError as problem:
                yield number, Broken(f"{path}:{number}", f"no UTF-8 text (byte {problem.start} of the line)")
            except (ValueError, RecursionError) as problem:
                yield number, Broken(f"{path}:{number}", f"no JSON ({problem}); each line must hold one object")
    if empty:
        raise NlaeError(f"{path} is empty: leave it out of corpus.paths")


def _parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as problem:
        raise NlaeError(f"{path} is no readable parquet file: check it or leave it out") from problem
    if not file.metadata.num_rows:
        raise NlaeError(f"{path} is empty: leave it out of corpus.paths")
    with _readable(path):
        yield from enumerate((record for batch in file.iter_batches() for record in batch.to_pylist()), 1)
