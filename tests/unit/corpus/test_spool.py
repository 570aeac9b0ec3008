"""Chunks are written as they fill up, and rows come back in any order."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from nlae.corpus import Corpus, CorpusSource, Document, build_corpus, spool
from nlae.corpus.spool import TableWriter, mapped, read_in_order
from nlae.errors import NlaeError
from nlae.target import TinyTarget

SCHEMA = pa.schema({"n": pa.int64(), "text": pa.string()})


def write(path, count, chunk):
    most = 0
    with TableWriter(path, SCHEMA, chunk) as out:
        for n in range(count):
            assert out.add(n=n, text=f"row {n}") == n
            most = max(most, len(out._rows["n"]))
    return most


@pytest.mark.parametrize("count", [0, 1, 7, 8, 23])
def test_a_chunk_at_most_is_held(tmp_path, count):
    assert write(tmp_path / "a", count, 7) <= 6
    table = mapped(tmp_path / "a")
    assert table["n"].to_pylist() == list(range(count))
    assert table["text"].num_chunks <= -(-max(count, 1) // 7)


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    write(tmp_path / "a", 50, 7)
    order = np.random.default_rng(0).permutation(50)[:41]
    batches = list(read_in_order(mapped(tmp_path / "a"), order, ["text", "n"], chunk=6))
    assert max(batch.num_rows for batch in batches) == 6
    assert [n for batch in batches for n in batch["n"].to_pylist()] == order.tolist()
    assert [t for batch in batches for t in batch["text"].to_pylist()] == [f"row {n}" for n in order]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chats(CorpusSource):
    def documents(self):
        for n in range(30):
            turns = [{"role": "user", "content": f"Ask {n} of {'rain ' * n}"}, {"role": "assistant", "content": "Yes."}]
            yield Document(f"chat{n}", "", f"work{n % 7}", turns)

    def fingerprint(self):
        return "chats"


def test_a_build_passes_through_small_chunks_unchanged_and_leaves_nothing(tmp_path, monkeypatch):
    tokenizer, source = TinyTarget().load_tokenizer(), Chats(max_tokens=96, min_tokens=8)
    build_corpus(source, tokenizer, tmp_path / "whole")
    writer = TableWriter.__init__
    monkeypatch.setattr(TableWriter, "__init__", lambda self, path, schema, chunk=3: writer(self, path, schema, 3))
    monkeypatch.setattr(spool, "CHUNK", 3)
    (tmp_path / "small" / ".build").mkdir(parents=True)
    (tmp_path / "small" / ".build" / "left.arrow").touch()  # by a build that was killed
    build_corpus(source, tokenizer, tmp_path / "small")
    whole, small = Corpus.open(tmp_path / "whole"), Corpus.open(tmp_path / "small")
    assert small.documents["text"].num_chunks > whole.documents["text"].num_chunks == 1
    assert small.documents.to_pylist() == whole.documents.to_pylist()
    assert small.rows.position.tolist() == whole.rows.position.tolist()
    assert small.rows.split.tolist() == whole.rows.split.tolist()
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == ["documents.arrow", "rows.arrow"]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TableWriter, "_write", full)
    with pytest.raises(NlaeError, match=r"cannot write .*No space left on device; free some space"):
        build_corpus(Chats(max_tokens=96, min_tokens=8), TinyTarget().load_tokenizer(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_source_that_cannot_be_read_is_not_taken_for_a_full_disk(tmp_path):
    class Gone(Chats):
        def documents(self):
            yield from list(super().documents())[:3]
            raise FileNotFoundError(2, "No such file", "chats.db")

    with pytest.raises(FileNotFoundError, match=r"chats\.db"):
        build_corpus(Gone(max_tokens=96, min_tokens=8), TinyTarget().load_tokenizer(), tmp_path)
    assert not list(tmp_path.iterdir())
