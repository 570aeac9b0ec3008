"""Cutting documents into passages, and drawing positions in them.

A passage begins where a sentence begins, so that it can be read alone. Nothing of a document is kept twice: passages do
not overlap.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlae.corpus.base import Document, stable_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHORT = 32
_SENTENCE = re.compile(r"[^.!?。！？｡\n]*(?:[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？｡]+[”’」』）)\]]*|\n+|$|[.!?]+)\s*")
# characters a token of the budget stands for, at most and at least, in cutting what has no sentences
_MOST, _BYTES = 64, 4


class RefusedError(ValueError):
    """A conversation that the tokenizer's chat template does not take."""


@dataclasses.dataclass(frozen=True)
class Passage:
    """A piece of a document that fits the token budget.

    Attributes:
        id: the document's id, with `#k` appended where the document was cut.
        origin: the document's id.
        source: the source work.
        text: what the tokens say.
        ids: token ids, with the tokenizer's own prefix (such as BOS) once.
    """

    id: str
    origin: str
    source: str
    text: str
    ids: list[int]


class Cutter:
    """Cuts documents for one tokenizer.

    Args:
        tokenizer: of the target.
        max_tokens: budget of a passage, the tokenizer's prefix included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self.tokenizer: Any = tokenizer
        self.max_tokens = max_tokens
        self.prefix = special_prefix(tokenizer)

    def cut(self, document: Document) -> list[Passage]:
        """Passages in reading order; short ones too."""
        if document.messages is not None:
            pieces = self._conversation(document.messages)
        else:
            texts = self._texts(document.text)
            pieces = [self._whole(*pair) for pair in zip(texts, self._encode(texts), strict=True)]
        many = len(pieces) > 1
        return [
            Passage(f"{document.id}#{k}" if many else document.id, document.id, document.source, text, ids)
            for k, (text, ids) in enumerate(pieces)
        ]

    def _whole(self, text: str, ids: list[int]) -> tuple[str, list[int]]:
        # a text may begin with the start token itself, which never stands there twice
        ids = ids if self.prefix and ids[: len(self.prefix)] == self.prefix else [*self.prefix, *ids]
        if len(ids) > self.max_tokens:
            ids = ids[: self.max_tokens]
            text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text, ids

    def _texts(self, text: str) -> list[str]:
        """Sentences packed greedily; one that exceeds the budget stands alone and loses its end.

        One that goes on and on (a text without spaces or stops) is cut into pieces that surely fit and packed likewise.
        """
        found = [sentence for sentence in _SENTENCE.findall(text) if sentence.strip()]
        sentences = [piece for sentence in found for piece in self._pieces(sentence)]
        if not sentences:
            return []
        texts, current, used = [], "", 0
        for sentence, ids in zip(sentences, self._encode(sentences), strict=True):
            if current and used + len(ids) > self.max_tokens - len(self.prefix):
                texts.append(current.strip())
                current, used = "", 0
            current += sentence
            used += len(ids)
        return [*texts, current.strip()]

    def _pieces(self, sentence: str) -> list[str]:
        if len(sentence) <= _MOST // 2 * self.max_tokens:
            return [sentence]
        size = max(1, self.max_tokens // _BYTES)
        return re.findall(rf"\S{{1,{size}}}\s{{0,{size}}}|\s{{1,{size}}}", sentence)

    def _conversation(self, messages: Sequence[Any]) -> list[tuple[str, list[int]]]:
        """Whole turns packed greedily through the chat template; each passage starts with a user's message."""
        windows: list[list[Any]] = []
        for message in messages:
            # what is far beyond the budget is cut off anyhow, and long to tokenise
            plain = {"role": message["role"], "content": message["content"][: _MOST * self.max_tokens]}
            opens = not windows or (plain["role"] == "user" and any(m["role"] != "system" for m in windows[-1]))
            if opens and windows and len(self._chat(turns := [*windows[-1], plain])) <= self.max_tokens:
                windows[-1] = turns
            elif opens:
                windows.append([plain])
            else:
                windows[-1].append(plain)
        cut = [self._chat(window)[: self.max_tokens] for window in windows]
        return [(self.tokenizer.decode(ids, skip_special_tokens=True), ids) for ids in cut]

    def _chat(self, messages: list[dict[str, str]]) -> list[int]:
        if not getattr(self.tokenizer, "chat_template", None):
            lines = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
            return [*self.prefix, *self._encode([lines])[0]]
        try:  # the template writes BOS itself where there is one
            ids: list[int] = self.tokenizer.apply_chat_template(
                messages, tokenize=True, return_dict=False, tokenizer_kwargs={"verbose": False}
            )
        except Exception as problem:  # templates raise what they like; all of it concerns the messages
            reason = " ".join(str(problem).split()) or type(problem).__name__
            raise RefusedError(f"the chat template refuses these messages ({reason})") from problem
        return list(ids)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )["input_ids"]
        return ids


def special_prefix(tokenizer: Any) -> list[int]:
    """What the tokenizer puts in front of every text (usually BOS or nothing)."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    special = list(tokenizer("a")["input_ids"])
    for start in range(len(special) - len(plain) + 1):
        if special[start : start + len(plain)] == plain:
            return special[:start]
    return []


def draw_positions(
    document_id: str, n_tokens: int, *, count: int, first: int, short_share: float, seed: int
) -> list[int]:
    """Ascending positions in [first, n_tokens), without repetition; a pure function of its arguments.

    Each is drawn uniformly, except that with probability `short_share` it falls among the first 32 tokens.
    """
    if n_tokens <= first:
        return []
    rng = np.random.default_rng([seed, stable_hash(document_id)])
    short = rng.binomial(count, short_share)
    early = rng.permutation(np.arange(first, min(SHORT, n_tokens)))[:short] if first < SHORT else np.zeros(0, int)
    everywhere = rng.permutation(np.arange(first, n_tokens))
    rest = everywhere[~np.isin(everywhere, early)][: count - len(early)]
    return sorted(int(position) for position in (*early, *rest))
