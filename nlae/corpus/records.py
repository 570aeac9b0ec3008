"""One record of a user's data as a document: which fields hold it, what its chat messages say, and what is broken.

A record that cannot be read is no reason to stop: it becomes a `Broken`, which whoever builds the corpus counts. Left
out: images, sounds and tool calls; a message without text is left out, never written as `None`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nlae.corpus.base import Broken, Document

_HALVES = re.compile("[\ud800-\udfff\0]")  # lone surrogates, which no encoding holds, and zero bytes


@dataclasses.dataclass(frozen=True)
class Fields:
    """Names of the fields of a record."""

    text: str = "text"
    messages: str = "messages"
    id: str = "id"
    source: str = "source"


@dataclasses.dataclass(frozen=True)
class Chat:
    """Messages in plain text.

    Attributes:
        messages: with `role` and `content`.
        parts: images and other parts that are no text and were left out.
        empty: messages without text that were left out, such as a bare tool call.
    """

    messages: tuple[dict[str, str], ...]
    parts: int = 0
    empty: int = 0

    @property
    def left_out(self) -> str:
        """What is missing, in words; "" where nothing is."""
        named = ((self.parts, "part(s) that are no text"), (self.empty, "message(s) without text"))
        return " and ".join(f"{count} {what}" for count, what in named if count)


def whole(text: str) -> str:
    """`text` with the replacement character for what no tokenizer or file takes: half characters and zero bytes."""
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)


def chat_of(value: Any) -> Chat:
    """The text of chat messages.

    Args:
        value: a list of messages, or an object that holds one under `messages`. `content` is a text, null, or a list of
            parts, of which those with a `text` are joined.

    Raises:
        ValueError: anything else, or no message with text; the message says which.
    """
    if isinstance(value, Mapping) and "messages" in value:
        value = value["messages"]
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError('expected a non-empty list of {"role": …, "content": …} objects')
    found, parts, empty = [], 0, 0
    for number, message in enumerate(value):
        if not isinstance(message, Mapping):
            raise ValueError(f"message {number} is no object")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not role.strip():
            raise ValueError(f"message {number} has no text under `role` (it has {', '.join(map(str, message))})")
        if isinstance(content, Sequence) and not isinstance(content, str):
            texts = [_part(part) for part in content]
            parts += texts.count(None)
            content = "".join(text for text in texts if text is not None)
        if content is not None and not isinstance(content, str):
            raise ValueError(f"message {number}: its `content` is {type(content).__name__}, no text")
        if content:
            found.append({"role": role, "content": content})
        else:
            empty += 1
    if not found:
        raise ValueError("none of its messages holds text")
    return Chat(tuple(found), parts, empty)


def _part(part: Any) -> str | None:
    """The text of one part of a message; None for an image or the like."""
    text = part.get("text") if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else None


def read_record(record: Any, fields: Fields, where: str, identity: str) -> Document | Broken:
    """A record as a document.

    Args:
        record: as parsed.
        fields: names of its fields.
        where: file and line, or dataset and number.
        identity: of a record that names none.
    """
    if not isinstance(record, Mapping):
        return Broken(where, f"{type(record).__name__} instead of an object")
    names = {"id": record.get(fields.id), "source": record.get(fields.source)}
    for name, value in names.items():
        if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
            return Broken(where, f"its {getattr(fields, name)!r} is no name but {type(value).__name__}")
    given, source = names["id"], names["source"]
    identity = identity if given is None else whole(str(given))
    work = identity if source in (None, "") else whole(str(source))
    text, messages = record.get(fields.text), record.get(fields.messages)
    if messages:
        try:
            chat = chat_of(messages)
        except ValueError as problem:
            return Broken(where, f"{fields.messages}: {problem}")
        turns = [{key: whole(value) for key, value in turn.items()} for turn in chat.messages]
        return Document(identity, "", work, turns, chat.parts, chat.empty)
    if not isinstance(text, str):
        has = ", ".join(sorted(map(str, record))) or "nothing"
        what = "no text" if text is None else f"{type(text).__name__}, no text,"
        return Broken(
            where,
            f"{what} under {fields.text!r} and no messages under {fields.messages!r} (it has {has}); set "
            "corpus.text_key or corpus.messages_key",
        )
    return Document(identity, whole(text), work)
