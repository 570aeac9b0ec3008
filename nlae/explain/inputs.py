"""What a user may hand to `explain`: a text, a chat, or directions; read and checked before any model loads.

Text is taken as it is: nothing is stripped, split or normalised. Vectors come from safetensors or `.npy` only; pickled
arrays are refused because loading one runs code. Left out: web addresses, and splitting long texts into pieces.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nlae.corpus.records import chat_of
from nlae.errors import NlaeError
from nlae.files.foreign import MOST_ARRAY, check_size, parse_json, read_array

STDIN = "-"
_HALF = re.compile("[\ud800-\udfff]")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextInput:
    """A text, verbatim."""

    name: str
    text: str


@dataclass(frozen=True)
class ChatInput:
    """A conversation: messages with `role` and `content`."""

    name: str
    messages: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class DirectionInput:
    """One direction in the site's space, e.g. a steering vector, a probe or a row of a sparse autoencoder."""

    name: str
    vector_D: Tensor


@dataclass(frozen=True)
class ActivationInput:
    """One raw activation, read as it is."""

    name: str
    vector_D: Tensor


Input = TextInput | ChatInput | DirectionInput | ActivationInput


def load_inputs(
    *,
    file: str | None = None,
    text: str | None = None,
    messages: str | None = None,
    vector: str | None = None,
    stdin: TextIO | None = None,
) -> list[Input]:
    """Read the one source that was named.

    Args:
        file: a text file, a `.jsonl` file with `text` or `messages` in each line, or `-` for standard input.
        text: the text itself.
        messages: a JSON file with a list of messages, or an object that holds one under `messages`.
        vector: a `.safetensors` or `.npy` file with one direction, or one in each row.
        stdin: standard input, when it is not the process's own.

    Raises:
        NlaeError: none or several were named, or the source cannot be read.
    """
    named = {"file": file, "text": text, "messages": messages, "vector": vector}
    given = [key for key, value in named.items() if value is not None]
    if len(given) != 1:
        found = "none" if not given else " and ".join(given)
        raise NlaeError(f"explain needs exactly one of file=, text=, messages= or vector=; found {found}")
    if text is not None:
        return [_text("text", text)]
    if messages is not None:
        return [_chat(Path(messages).name, _json(Path(messages)), str(messages))]
    if vector is not None:
        return list(load_directions(Path(vector)))
    assert file is not None
    return _from_file(file, stdin)


def parse_messages(value: Any, where: str = "messages") -> tuple[dict[str, str], ...]:
    """Messages as plain `role` and `content` strings; an object with a `messages` list is unwrapped.

    Images, other parts that are no text, and messages without text (bare tool calls) are left out, and the log says so.

    Raises:
        NlaeError: anything else.
    """
    try:
        chat = chat_of(value)
    except ValueError as problem:
        raise NlaeError(f"{where}: {problem}") from problem
    if chat.left_out:
        _say(f"{where}: {chat.left_out} left out")
    for message in chat.messages:
        _check_characters(where, message["content"])
    return chat.messages


@cache
def _say(line: str) -> None:
    """Once for a process, however often an input is read."""
    log.warning("%s", line)


def load_directions(path: Path) -> list[DirectionInput]:
    """The directions in a `.safetensors` or `.npy` file: [D] is one, [N, D] is N.

    Raises:
        NlaeError: another format, a pickled array, a wrong shape, or a direction that is zero or not finite.
    """
    if not path.is_file():
        raise NlaeError(f"vector={path}: no such file")
    found = _arrays(path)
    out = []
    for key, array in found.items():
        if array.ndim not in (1, 2) or not array.numel() or not (array.is_floating_point() or _is_integer(array)):
            raise NlaeError(
                f"vector={path}: `{key}` is {array.dtype}, {tuple(array.shape)}; expected numbers, [D] or [N, D]"
            )
        rows_ND = array.float().reshape(-1, array.shape[-1])
        for i, row_D in enumerate(rows_ND):
            name = key if len(rows_ND) == 1 else f"{key}[{i}]"
            if not bool(torch.isfinite(row_D).all()) or not float(row_D.norm()) > 0:
                raise NlaeError(f"vector={path}: `{name}` is zero or holds values that are not finite")
            out.append(DirectionInput(name, row_D))
    if not out:
        raise NlaeError(f"vector={path}: the file holds no tensor")
    return out


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            check_size(path, MOST_ARRAY)
            with safe_open(str(path), framework="pt") as file:
                return {key: file.get_tensor(key) for key in sorted(file.keys())}
        if path.suffix == ".npy":
            array = read_array(path)
            return {path.stem: torch.from_numpy(np.ascontiguousarray(array))}
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise NlaeError(f"vector={path}: cannot be read as {path.suffix} without pickle ({_short(error)})") from error
    raise NlaeError(f"vector={path}: expected a .safetensors or .npy file, found {path.suffix or 'no suffix'}")


def _from_file(file: str, stdin: TextIO | None) -> list[Input]:
    if file == STDIN:
        try:
            whole = (stdin or sys.stdin).read()
        except UnicodeDecodeError as error:
            raise NlaeError(f"file=-: not UTF-8 text (byte {error.start}); convert it") from error
        lines = _as_json_lines(whole)
        return (
            [_record(f"line {i}", record, "standard input") for i, record in lines]
            if lines
            else [_text("stdin", whole)]
        )
    path = Path(file)
    try:
        whole = path.read_bytes().decode("utf-8-sig")  # bytes: universal newlines would change the text
    except OSError as error:
        raise NlaeError(f"file={file}: cannot be read ({error.strerror or _short(error)})") from error
    except UnicodeDecodeError as error:
        raise NlaeError(
            f"file={file}: not UTF-8 text (byte {error.start}); convert it, or use vector= for arrays"
        ) from error
    except ValueError as error:
        raise NlaeError(f"file={file!r}: cannot be read ({_short(error)}); check the path") from error
    if path.suffix not in (".jsonl", ".ndjson"):
        return [_text(path.name, whole)]
    out: list[Input] = []
    for i, line in enumerate(whole.split("\n"), start=1):
        if line.strip():
            try:
                record = parse_json(line)
            except (ValueError, RecursionError) as error:
                raise NlaeError(
                    f"file={file}: line {i} is not JSON ({_short(error)}); each line must hold one object"
                ) from error
            out.append(_record(f"{path.name} line {i}", record, f"file={file}"))
    if not out:
        raise NlaeError(f"file={file}: holds no line to read")
    return out


def _as_json_lines(whole: str) -> list[tuple[int, dict[str, Any]]]:
    """Numbered records when *every* line is an object with `text` or `messages`; else nothing: it is a text."""
    out = []
    for i, line in enumerate(whole.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except (ValueError, RecursionError):
            return []
        if not isinstance(record, dict) or not {"text", "messages"} & set(record):
            return []
        out.append((i, record))
    return out


def _record(name: str, record: Any, where: str) -> Input:
    if isinstance(record, dict) and isinstance(record.get("text"), str):
        return _text(str(record.get("id") or name), record["text"])
    if isinstance(record, dict) and "messages" in record:
        return _chat(str(record.get("id") or name), record, f"{where}, {name}")
    raise NlaeError(f"{where}: {name} needs a `text` string or a `messages` list")


def _text(name: str, text: str) -> TextInput:
    if not text:
        raise NlaeError(f"{name}: the text is empty: there is no token to explain")
    _check_characters(name, text)
    return TextInput(name, text)


def _check_characters(name: str, text: str) -> None:
    if "\x00" in text:
        raise NlaeError(f"{name}: holds a zero byte, so it is binary, not text")
    half = _HALF.search(text)
    if half:
        raise NlaeError(
            f"{name}: character {half.start()} is half a character (U+{ord(half.group()):04X}), which is no text: "
            "mend the file's encoding"
        )


def _chat(name: str, value: Any, where: str) -> ChatInput:
    return ChatInput(name, parse_messages(value, where))


def _json(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise NlaeError(f"messages={path}: cannot be read ({error.strerror or _short(error)})") from error
    except (ValueError, RecursionError) as error:
        raise NlaeError(f"messages={path}: not JSON ({_short(error)}); give a list of messages") from error


def _is_integer(array: Tensor) -> bool:
    return array.dtype in (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
