import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nlae.errors import NlaeError
from nlae.explain.inputs import ChatInput, TextInput, load_inputs

NASTY = "a, 'b' \"c\" (d) [e] {f}=g ${x}\r\ntrue é 🙂 שלום \\ <script>"


def test_text_is_taken_verbatim() -> None:
    assert load_inputs(text=NASTY) == [TextInput("text", NASTY)]


def test_text_file_keeps_every_character(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(NASTY.encode())
    assert load_inputs(file=str(tmp_path / "notes.txt")) == [TextInput("notes.txt", NASTY)]


def test_jsonl_holds_texts_and_chats(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    chat = [{"role": "user", "content": "hi"}]
    path.write_text(json.dumps({"text": NASTY, "id": "n"}) + "\n\n" + json.dumps({"messages": chat}) + "\n")
    first, second = load_inputs(file=str(path))
    assert first == TextInput("n", NASTY)
    assert isinstance(second, ChatInput)
    assert list(second.messages) == chat


def test_standard_input_is_text_unless_every_line_is_a_record() -> None:
    assert load_inputs(file="-", stdin=io.StringIO('{"text": "a"}\nnot json\n'))[0].name == "stdin"
    assert load_inputs(file="-", stdin=io.StringIO('{"text": "a"}\n')) == [TextInput("line 1", "a")]


@pytest.mark.parametrize("given", [{}, {"text": "a", "file": "b"}])
def test_exactly_one_source(given: dict[str, str]) -> None:
    with pytest.raises(NlaeError, match="exactly one of file="):
        load_inputs(**given)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.txt", b"a\x00b", "binary"),
        ("a.jsonl", b"{", "line 1 is not JSON"),
        ("a.jsonl", b'{"words": 1}', "needs a `text`"),
        ("a.jsonl", b"\n", "no line"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}', "none of its messages holds text"),
        ("a.jsonl", b'{"messages": [{"content": "x"}]}', "message 0 has no text under `role`"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": 7}]}', "message 0: its `content` is int"),
        ("a.jsonl", b'{"text": "half \\ud800"}', "character 5 is half a character .U.D800"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": "\\udfff"}]}', "half a character"),
        ("a.jsonl", b"[" * 20000, "line 1 is not JSON"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NlaeError, match=message):
        load_inputs(file=str(tmp_path / name))


def test_an_encoding_mark_is_no_text_and_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\u2028two\x0c".encode())
    assert load_inputs(file=str(tmp_path / "a.txt")) == [TextInput("a.txt", "one\u2028two\x0c")]
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "a\u2028b\x85c"}\r\n{"text": "d"}'.encode())
    assert [item.text for item in load_inputs(file=str(tmp_path / "a.jsonl")) if isinstance(item, TextInput)] == [
        "a\u2028b\x85c",
        "d",
    ]


def test_tool_calls_and_images_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chat = [
        {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image_url"}, "what?"]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "a cat"},
    ]
    path = tmp_path / "chat.json"
    path.write_text("\ufeff" + json.dumps(chat))
    (found,) = load_inputs(messages=str(path))
    assert isinstance(found, ChatInput)
    assert found.messages == ({"role": "user", "content": "Look: what?"}, {"role": "tool", "content": "a cat"})
    assert "1 part(s) that are no text and 1 message(s) without text left out" in caplog.text


def test_missing_files_are_named(tmp_path: Path) -> None:
    for key in ("file", "messages", "vector"):
        with pytest.raises(NlaeError, match="gone"):
            load_inputs(**{key: str(tmp_path / "gone.npy")})


def test_directions_from_both_formats(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(4.0))
    save_file({"b": torch.ones(2, 4), "a": torch.ones(4)}, str(tmp_path / "many.safetensors"))
    (one,) = load_inputs(vector=str(tmp_path / "one.npy"))
    assert one.vector_D.tolist() == [0, 1, 2, 3]
    assert [d.name for d in load_inputs(vector=str(tmp_path / "many.safetensors"))] == ["a", "b[0]", "b[1]"]


def test_a_pickled_array_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(NlaeError, match="without pickle"):
        load_inputs(vector=str(tmp_path / "bad.npy"))


@pytest.mark.parametrize(
    ("array", "message"), [(np.zeros(4), "zero"), (np.array([1.0, np.nan]), "finite"), (np.zeros((2, 2, 2)), r"\[D\]")]
)
def test_useless_directions_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(NlaeError, match=message):
        load_inputs(vector=str(tmp_path / "v.npy"))


def test_a_broken_safetensors_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "v.safetensors").write_bytes(b"nonsense")
    with pytest.raises(NlaeError, match="v.safetensors"):
        load_inputs(vector=str(tmp_path / "v.safetensors"))
