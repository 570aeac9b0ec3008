"""Files become documents with stable ids; what cannot be read is named in one line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlae.corpus import FilesCorpus
from nlae.corpus.base import Broken
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
        ("u.txt", "Text.".encode("utf-16"), r"u\.txt is UTF-16: convert it"),
        ("u.jsonl", '{"text": "a"}\n'.encode("utf-16"), r"u\.jsonl is UTF-16: convert it"),
        ("o.jsonl", b" \n\n", r"o\.jsonl is empty"),
        ("p.parquet", b"nonsense", r"p\.parquet is no readable parquet"),
        ("d.pdf", b"%PDF", r"d\.pdf: cannot read \.pdf"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NlaeError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{oops", "no JSON"),
        (b'{"text": "\xff"}', "no UTF-8 text (byte 10 of the line)"),
        (b"[1]", "list instead of an object"),
        (b'{"body": "a"}', "no text under 'text' and no messages under 'messages' (it has body); set corpus.text_key"),
        (b'{"text": null}', "no text under 'text'"),
        (b'{"text": 7}', "int, no text, under 'text'"),
        (b'{"text": ["a", "b"]}', "list, no text, under 'text'"),
        (b'{"id": {"a": 1}, "text": "a"}', "its 'id' is no name"),
        (b'{"messages": [{"role": "user"}]}', "none of its messages holds text"),
        (b'{"messages": [{"content": "a"}]}', "message 0 has no text under `role` (it has content)"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "message 0: its `content` is int, no text"),
        (b'{"messages": "hello"}', "expected a non-empty list"),
        (b"[" * 20000, "no JSON"),
    ],
)
def test_a_broken_record_is_named_and_the_others_are_read(tmp_path, line, why):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"text": "One."}\n' + line + b'\n{"text": "Two."}\n')
    first, broken, last = read(path)
    assert (first.text, last.text) == ("One.", "Two.")
    assert isinstance(broken, Broken)
    assert broken.where == f"{path}:2"
    assert why in broken.why


def test_odd_characters_stay_or_are_replaced_and_split_no_row(tmp_path):
    path = tmp_path / "odd.jsonl"
    texts = ["a\u2028b\x0cc\x85d\x0be", "half \ud800 and \udfff", "zero \0 byte", "pair \U0001f600", "日本。\u200b"]
    path.write_text("\ufeff" + "\r\n".join(json.dumps({"text": text}) for text in texts) + "\r\n")
    found = [document.text for document in read(path)]
    assert found == [texts[0], "half \ufffd and \ufffd", "zero \ufffd byte", texts[3], texts[4]]
    assert "".join(found).encode()
    raw = tmp_path / "raw.jsonl"
    raw.write_bytes("\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in (texts[0], texts[4])).encode())
    assert [document.text for document in read(raw)] == [texts[0], texts[4]]
    plain = tmp_path / "plain.txt"
    plain.write_bytes(b"\xef\xbb\xbf" + "one\x0ctwo\u2028three\r\nfour\x85five\rsix\r\n".encode())
    (document,) = read(plain)
    assert document.text == "one\x0ctwo\u2028three\nfour\x85five\nsix"


def test_messages_keep_their_text_and_nothing_else(tmp_path):
    path = tmp_path / "chat.jsonl"
    parts = [{"type": "text", "text": "What "}, {"type": "image_url", "image_url": {"url": "x"}}, "is it?"]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "It is \ud800 42."},
    ]
    path.write_text(json.dumps({"messages": messages}) + "\n" + json.dumps({"messages": [], "text": "Plain."}))
    chat, plain = read(path)
    assert [dict(message) for message in chat.messages] == [
        {"role": "user", "content": "What is it?"},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "It is \ufffd 42."},
    ]
    assert (chat.parts_left_out, chat.messages_left_out) == (1, 1)
    assert (plain.text, plain.messages) == ("Plain.", None)


@pytest.mark.parametrize("name", ["texts [2024]", "2024", "a=b (c) #1", "日本 é", 'it\'s, "q"', "{x}", "*"])
def test_folders_of_any_name(tmp_path, name, monkeypatch):
    folder = tmp_path / name / "deep"
    folder.mkdir(parents=True)
    (folder / "one [1].txt").write_text("One.")
    (tmp_path / name / "two.txt").write_text("Two.")
    for pattern, ids in (
        (f"{name}/*.txt", ["two"]),
        (f"{name}/**/*.txt", ["deep/one [1]", "two"]),
        (f"{name}/*/one [1].txt", ["deep/one [1]"]),
        (f"{name}/deep/one [1].txt", ["one [1]"]),
        (name, ["deep/one [1]", "two"]),
        (f"{name}/d[a-f]*/*.txt", ["deep/one [1]"]),
    ):
        assert [document.id for document in read(tmp_path / pattern)] == ids
        monkeypatch.chdir(tmp_path)
        assert [document.id for document in read(pattern)] == ids
    assert FilesCorpus(paths=str(tmp_path / name)).fingerprint().startswith("files-")


def test_missing_paths_and_bad_settings(tmp_path):
    with pytest.raises(NlaeError, match="nothing matches"):
        read(tmp_path / "*.txt")
    with pytest.raises(NlaeError, match=r"needs corpus\.paths"):
        read()
    with pytest.raises(NlaeError, match=r"corpus\.heading='\('"):
        FilesCorpus(paths=["x"], heading="(")
    with pytest.raises(NlaeError, match=r"corpus\.clean=html: unknown"):
        FilesCorpus(paths=["x"], clean="html")
