"""Files become documents with stable ids; what cannot be read is named in one line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlae.corpus import FilesCorpus
from nlae.errors import NlaeError


def read(*paths, **settings):
    return list(FilesCorpus(paths=[str(path) for path in paths], **settings).documents())


def test_each_text_file_is_a_work_wherever_the_folder_lies(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place / "sub").mkdir(parents=True)
        (tmp_path / place / "b.txt").write_text("Béta.")
        (tmp_path / place / "sub" / "a.md").write_text("Alpha.")
    by_glob = read(tmp_path / "here" / "**" / "*.*")
    by_folder = read(tmp_path / "there")
    assert by_glob == by_folder
    assert [(d.id, d.source, d.text) for d in by_glob] == [("b", "b", "Béta."), ("sub/a", "sub/a", "Alpha.")]
    here, there = (FilesCorpus(paths=[str(tmp_path / place)]).fingerprint() for place in ("here", "there"))
    assert here == there
    (tmp_path / "there" / "b.txt").write_text("Other.")
    assert FilesCorpus(paths=str(tmp_path / "there")).fingerprint() != here


def test_headings_cut_a_file_into_works(tmp_path):
    path = tmp_path / "wiki.txt"
    path.write_text(
        " \n = One = \n \n Text of one .\n = = Part = = \n More <unk> text .\n \n = Two = \n\n Text of two .\n"
    )
    documents = read(path, heading=r"^ = ([^=]+) = $", drop_lines=r"^ = .*= $", clean="wikitext")
    assert [d.id for d in documents] == ["wiki/0001 One", "wiki/0002 Two"]
    assert [d.source for d in documents] == [d.id for d in documents]
    assert documents[0].text.split() == ["Text", "of", "one.", "More", "text."]


def test_jsonl_keys_and_source_pattern(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [
        {"key": "speech/1#0", "body": "First.", "source": "ignored"},
        {"key": "speech/1#1", "body": "Second."},
        {"key": "other", "body": "Third.", "source": "book"},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    documents = read(path, text_key="body", id_key="key", source_pattern=r"^(.*)#\d+$")
    assert [(d.id, d.source) for d in documents] == [
        ("speech/1#0", "speech/1"),
        ("speech/1#1", "speech/1"),
        ("other", "book"),
        ("a/4", "a/4"),
    ]
    assert documents[3].messages[1]["content"] == "Hello"


def test_parquet_and_repeated_ids(tmp_path):
    pq.write_table(pa.table({"id": ["x", "x"], "text": ["One.", "Two."]}), tmp_path / "p.parquet")
    assert [(d.id, d.source, d.text) for d in read(tmp_path / "p.parquet")] == [
        ("x", "x", "One."),
        ("x~2", "x", "Two."),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.txt", b" \n", r"e\.txt is empty"),
        ("b.txt", b"\x89PNG\x00\xff", r"b\.txt is no UTF-8 text"),
        ("z.txt", b"abc\x00def", r"z\.txt is binary"),
        ("j.jsonl", b'{"text": "a"}\n{oops\n', r"j\.jsonl, line 2: no JSON"),
        ("n.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', r"n\.jsonl is no UTF-8 text \(byte 24\)"),
        ("o.jsonl", b" \n\n", r"o\.jsonl is empty"),
        ("l.jsonl", b"[1]\n", r"l\.jsonl, line 1: list instead of an object"),
        ("k.jsonl", b'{"body": "a"}\n', r"k\.jsonl, record 1: neither text under 'text'.*body.*corpus\.text_key"),
        ("m.jsonl", b'{"messages": [{"role": "user"}]}\n', r"m\.jsonl, record 1: messages must be"),
        ("p.parquet", b"nonsense", r"p\.parquet is no readable parquet"),
        ("d.pdf", b"%PDF", r"d\.pdf: cannot read \.pdf"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NlaeError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_paths_and_bad_settings(tmp_path):
    with pytest.raises(NlaeError, match="nothing matches"):
        read(tmp_path / "*.txt")
    with pytest.raises(NlaeError, match=r"needs corpus\.paths"):
        read()
    with pytest.raises(NlaeError, match=r"corpus\.heading='\('"):
        FilesCorpus(paths=["x"], heading="(")
    with pytest.raises(NlaeError, match=r"corpus\.clean=html: unknown"):
        FilesCorpus(paths=["x"], clean="html")
