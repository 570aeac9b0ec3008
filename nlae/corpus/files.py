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
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlae.corpus.cleaning import detokenise, prose
from nlae.corpus.source import CorpusSource, Document
from nlae.errors import NlaeError
from nlae.store.arrow import checksum

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

    def documents(self) -> Iterator[Document]:
        """Documents by file in the order of their names."""
        seen: dict[str, int] = {}
        for name, path in self._files():
            for document in self._read(name, path):
                count = seen[document.id] = seen.get(document.id, 0) + 1
                if count > 1:  # ids must be unique; the second of a name keeps its work
                    document = dataclasses.replace(document, id=f"{document.id}~{count}")
                yield self._finish(document)

    def fingerprint(self) -> str:
        """Hash of names and contents, of the files in use."""
        digest = hashlib.sha256()
        for name, path in self._files():
            digest.update(name.encode() + b"\0")
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
            matches = _matches(pattern)
            if not matches:
                raise NlaeError(f"corpus.paths: nothing matches {pattern}; check the path (globs: notes/**/*.md)")
            base = _fixed_part(pattern)
            for path in matches:
                found.setdefault(path, path.relative_to(base).as_posix() if path != base else path.name)
        return sorted((name, path) for path, name in found.items())

    def _read(self, name: str, path: Path) -> Iterator[Document]:
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
            yield Document(stem, self._without_lines(text.splitlines()), stem)
            return
        pattern = re.compile(self.heading)
        lines: list[str] = []
        title, number = "", 0
        for line in [*text.splitlines(), None]:
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

    def _records(self, name: str, path: Path, records: Iterator[tuple[int, Mapping[str, Any]]]) -> Iterator[Document]:
        stem = name.rsplit(".", 1)[0]
        for number, record in records:
            given = record.get(self.id_key)
            identity = f"{stem}/{number}" if given is None else str(given)
            source = record.get(self.source_key)
            messages = record.get(self.messages_key)
            text = record.get(self.text_key)
            if messages is None and not isinstance(text, str):
                raise NlaeError(
                    f"{path}, record {number}: neither text under {self.text_key!r} nor messages under "
                    f"{self.messages_key!r} (it has {', '.join(sorted(record)) or 'nothing'}); set corpus.text_key"
                )
            if messages is not None:
                messages = _messages(messages, f"{path}, record {number}")
            yield Document(identity, text or "", identity if source is None else str(source), messages)

    def _finish(self, document: Document) -> Document:
        source, text = document.source, document.text
        if self.source_pattern and (match := re.search(self.source_pattern, document.id)):
            source = match.group(1) if match.re.groups else match.group(0)
        if self.clean is not None:
            text = CLEANERS[self.clean](text)
        return dataclasses.replace(document, source=source, text=text)


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        wanted = TEXT + LINES + PARQUET
        return sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in wanted)
    if path.is_file():
        return [path]
    return sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())


def _fixed_part(pattern: str) -> Path:
    """The folder before the first wildcard; of a plain file, its own folder."""
    path = Path(pattern).expanduser()
    if path.is_dir():
        return path
    while path.parent != path and (glob.has_magic(str(path)) or path.is_file()):
        path = path.parent
    return path


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


def _decoded(path: Path, content: bytes, start: int = 0) -> str:
    """Bytes of `path` from `start` on, as text."""
    try:
        text = content.decode()
    except UnicodeDecodeError as problem:
        raise NlaeError(
            f"{path} is no UTF-8 text (byte {start + problem.start}): convert it or leave it out"
        ) from problem
    if "\0" in text:
        raise NlaeError(f"{path} is binary, not text: leave it out of corpus.paths")
    return text


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line by line, since such a file may be larger than memory."""
    empty, start = True, 0
    with _readable(path), path.open("rb") as file:
        for number, content in enumerate(file, 1):
            line = _decoded(path, content.removeprefix(codecs.BOM_UTF8) if number == 1 else content, start)
            start += len(content)
            if not line.strip():
                continue
            empty = False
            try:
                record = json.loads(line)
            except ValueError as problem:
                raise NlaeError(
                    f"{path}, line {number}: no JSON ({problem}); each line must hold one object"
                ) from problem
            if not isinstance(record, dict):
                raise NlaeError(
                    f"{path}, line {number}: {type(record).__name__} instead of an object; one object a line"
                )
            yield number, record
    if empty:
        raise NlaeError(f"{path} is empty: leave it out of corpus.paths")


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as problem:
        raise NlaeError(f"{path} is no readable parquet file: check it or leave it out") from problem
    if not file.metadata.num_rows:
        raise NlaeError(f"{path} is empty: leave it out of corpus.paths")
    number = 0
    with _readable(path):
        for batch in file.iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield number, record


def _messages(value: Any, where: str) -> list[Mapping[str, str]]:
    good = (
        isinstance(value, list) and value and all(isinstance(m, dict) and {"role", "content"} <= set(m) for m in value)
    )
    if not good:
        raise NlaeError(f"{where}: messages must be a list of objects with role and content")
    return [{"role": str(message["role"]), "content": str(message["content"])} for message in value]
