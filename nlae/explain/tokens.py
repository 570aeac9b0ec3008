"""From text and chats to tokens that know their piece of the text, their role, their turn; and which to read.

A passage's pieces, joined, are exactly its text (after a start token, where the tokenizer adds one), so that a page can
show it. Characters that a tokenizer splits over several tokens stay whole in one of them. Left out: tools and images.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from nlae.errors import NlaeError
from nlae.explain.inputs import ChatInput, TextInput

TEMPLATE = "template"


@dataclass(frozen=True)
class Turn:
    """Tokens `start` … `end` − 1 of a passage, written by `role` ("" for plain text)."""

    role: str
    start: int
    end: int
    generated: bool = False


@dataclass(frozen=True)
class Passage:
    """One tokenised input.

    Attributes:
        name: what to call it.
        kind: `text`, `chat` or `vector` (then `pieces` are labels and `ids` is empty).
        ids: token ids.
        pieces: what each token adds to the text; joined they are the text.
        turns: a partition of the tokens, in order.
    """

    name: str
    kind: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    turns: tuple[Turn, ...]

    def turn_of(self, index: int) -> Turn:
        """The turn that token `index` belongs to."""
        return self.turns[bisect_right([turn.start for turn in self.turns], index) - 1]


def encode(source: TextInput | ChatInput, tokenizer: Any, *, answer: bool = False) -> Passage:
    """Tokenise `source`; with `answer`, a chat ends in the header of the model's own turn.

    Raises:
        NlaeError: the tokenizer has no chat template, its template refuses the messages, or there is no token.
    """
    if isinstance(source, TextInput):
        # a text may begin with the start token itself, which never stands there twice
        begun = bool(tokenizer.bos_token) and source.text.startswith(tokenizer.bos_token)
        ids, pieces, _ = _tokenise(tokenizer, source.text, special=not begun)
        passage = Passage(source.name, "text", ids, pieces, (Turn("", 0, len(ids)),))
    else:
        passage = _encode_chat(source, tokenizer, answer)
    if not passage.ids:
        raise NlaeError(f"{source.name}: the tokenizer makes no token of this text")
    return passage


def extend(passage: Passage, new_ids: Sequence[int], tokenizer: Any) -> Passage:
    """`passage` followed by tokens that the model wrote itself."""
    if not new_ids:
        return passage
    pieces = tuple(_pieces_by_decoding(tokenizer, list(passage.ids), list(new_ids)))
    end = len(passage.ids) + len(new_ids)
    turns, start = passage.turns, len(passage.ids)
    role = "" if passage.kind == "text" else "assistant"
    if passage.kind == "chat" and turns[-1].role == "assistant" and turns[-1].generated:
        start, turns = turns[-1].start, turns[:-1]
    turns = (*turns, Turn(role, start, end, True))
    return replace(passage, ids=(*passage.ids, *new_ids), pieces=(*passage.pieces, *pieces), turns=turns)


def select(passage: Passage, tokens: str | int | Sequence[int], stride: int = 1) -> list[int]:
    """Indices of the tokens to read, ascending.

    Args:
        passage: the tokens to choose from.
        tokens: `all`; an index, counted from the end when negative; `last_of_turn`, the last token of each turn that is
            not white space; or a regular expression, which takes every token that a match overlaps. A list of indices
            works too. An expression that reads as one of the others can be put in brackets: `[7]`, `(all)`.
        stride: keep every `stride`-th of them.

    Raises:
        NlaeError: an index outside the passage, an expression that is wrong or matches nothing, or a stride below 1.
    """
    if stride < 1:
        raise NlaeError(f"stride={stride}: must be 1 or more")
    if isinstance(tokens, str):
        chosen = _select_by_word(passage, tokens)
    else:
        wanted = [tokens] if isinstance(tokens, int) else list(tokens)
        chosen = sorted({_index(passage, int(i)) for i in wanted})
    return chosen[::stride]


def _select_by_word(passage: Passage, tokens: str) -> list[int]:
    if tokens == "all":
        return list(range(len(passage.pieces)))
    if tokens == "last_of_turn":
        return [_last_shown(passage, turn) for turn in passage.turns if turn.role != TEMPLATE]
    if re.fullmatch(r"[+-]?\d+", tokens):
        return [_index(passage, int(tokens))]
    try:
        pattern = re.compile(tokens)
    except re.error as error:
        raise NlaeError(
            f"tokens={tokens!r}: not all, an index, last_of_turn or a regular expression ({error})"
        ) from error
    spans, at = [], 0
    for piece in passage.pieces:
        spans.append((at, at + len(piece)))
        at += len(piece)
    matches = [m.span() for m in pattern.finditer("".join(passage.pieces)) if m.end() > m.start()]
    chosen = [i for i, (a, b) in enumerate(spans) if a < b and any(a < end and start < b for start, end in matches)]
    if not chosen:
        raise NlaeError(f"tokens={tokens!r}: matches nothing in {passage.name}")
    return chosen


def _index(passage: Passage, index: int) -> int:
    n = len(passage.pieces)
    if not -n <= index < n:
        raise NlaeError(f"tokens={index}: {passage.name} has {n} tokens, so {-n} … {n - 1}")
    return index % n


def _last_shown(passage: Passage, turn: Turn) -> int:
    for i in range(turn.end - 1, turn.start - 1, -1):
        if passage.pieces[i].strip():
            return i
    return turn.end - 1


def _encode_chat(source: ChatInput, tokenizer: Any, answer: bool) -> Passage:
    messages = list(source.messages)
    text = _render(tokenizer, messages, answer, source.name)
    # the template writes the special tokens itself
    ids, pieces, starts = _tokenise(tokenizer, text, special=False)
    bounds = _turn_bounds(tokenizer, messages, text)
    turns = []
    for role, begin, stop in bounds:
        first = next((i for i, s in enumerate(starts) if s >= begin), len(ids))
        last = next((i for i, s in enumerate(starts) if s >= stop), len(ids))
        if last > first:
            turns.append(Turn(role, first, last))
    return Passage(source.name, "chat", ids, pieces, tuple(_mend(turns, len(ids), answer)))


def _mend(turns: list[Turn], n: int, answer: bool) -> list[Turn]:
    """A partition of 0 … n: what lies between turns is the template's."""
    out: list[Turn] = []
    at = 0
    for turn in turns:
        if turn.start > at:
            out.append(Turn(TEMPLATE, at, turn.start))
        out.append(turn)
        at = turn.end
    if at < n:
        out.append(Turn("assistant", at, n, True) if answer else Turn(TEMPLATE, at, n))
    return out


def _turn_bounds(tokenizer: Any, messages: list[dict[str, str]], text: str) -> list[tuple[str, int, int]]:
    """Where each message's block lies in the rendered text, header and closing marker included."""
    ends, floor = [], 0
    for i, message in enumerate(messages):
        prefix = _try_render(tokenizer, messages[: i + 1])
        if prefix is not None and text.startswith(prefix) and len(prefix) >= floor:
            end = len(prefix)
        else:
            content = message["content"].strip()
            found = text.find(content, floor)
            end = found + len(content) if found >= 0 else floor
            end = _past_special(tokenizer, text, end)
        ends.append(end)
        floor = end
    starts = [_first_start(tokenizer, messages[0], text, ends[0]), *ends[:-1]]
    return [(m["role"], start, end) for m, start, end in zip(messages, starts, ends, strict=True)]


def _first_start(tokenizer: Any, message: dict[str, str], text: str, end: int) -> int:
    """Where the first block starts: after a default system prompt, if any; a second copy shows the block's length."""
    once, twice = _try_render(tokenizer, [message]), _try_render(tokenizer, [message, message])
    if once and twice and twice.startswith(once) and text.startswith(once):
        start = len(once) - (len(twice) - len(once))
        if 0 < start < end and twice[len(once) :] == once[start:]:
            return start
    return 0


def _past_special(tokenizer: Any, text: str, at: int) -> int:
    for token in sorted(getattr(tokenizer, "all_special_tokens", []), key=len, reverse=True):
        if token and text.startswith(token, at):
            return at + len(token)
    return at


def _render(tokenizer: Any, messages: list[dict[str, str]], answer: bool, name: str) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise NlaeError(
            f"{name}: this target's tokenizer has no chat template; give the conversation as text= or file="
        )
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer))
    except Exception as error:  # templates raise what they like; all of it concerns the messages
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NlaeError(f"{name}: the chat template refuses these messages ({first})") from error


def _try_render(tokenizer: Any, messages: list[dict[str, str]]) -> str | None:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))
    except Exception:  # a template may refuse a part of a chat; the caller has another way
        return None


def _tokenise(tokenizer: Any, text: str, special: bool) -> tuple[tuple[int, ...], tuple[str, ...], list[int]]:
    """Ids, pieces and the character at which each token starts."""
    if not getattr(tokenizer, "is_fast", False):
        ids = list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
        pieces = _pieces_by_decoding(tokenizer, [], ids)
        return tuple(ids), tuple(pieces), [0, *accumulate(map(len, pieces))][: len(ids)]
    encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    ids, spans = list(encoded["input_ids"]), list(encoded["offset_mapping"])
    pieces, starts, at = [], [], 0
    for i, (begin, end) in enumerate(spans):
        if special and begin == end and ids[i] in tokenizer.all_special_ids:
            pieces.append(str(tokenizer.convert_ids_to_tokens(ids[i])))  # BOS: in no text, yet it is read
            starts.append(at)
            continue
        starts.append(at)
        pieces.append(text[at : max(at, end)])
        at = max(at, end)
    if at < len(text) and pieces:
        pieces[-1] += text[at:]
    return tuple(ids), tuple(pieces), starts


def _pieces_by_decoding(tokenizer: Any, before: list[int], ids: list[int]) -> list[str]:
    """What each token adds to the decoded text; a character split over tokens comes whole with the last of them."""
    tail = before[-16:]
    shown = len(_decode(tokenizer, tail))
    pieces = []
    for i in range(len(ids)):
        window = _decode(tokenizer, tail + ids[: i + 1])
        done = not window.endswith("\N{REPLACEMENT CHARACTER}") or i == len(ids) - 1
        pieces.append(window[shown:] if done else "")
        shown = len(window) if done else shown
    return pieces


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
