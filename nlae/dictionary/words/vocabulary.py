"""The words a description is made of: each stands for one or several tokens of the target, and is read as their mean.

A token that begins a word is shown as that word, one inside a word with a hyphen in front (`-ing`), signs and line
breaks by their names, so that a phrase needs no quotation marks. Left out: tokens that are no text (control tokens,
parts of characters). Shape suffixes: V tokens, W words, D width of the embedding.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SIGNS = {
    ",": "comma", ".": "full stop", ";": "semicolon", ":": "colon", "?": "question mark", "!": "exclamation mark",
    "-": "hyphen", "–": "dash", "—": "long dash", "(": "opening bracket", ")": "closing bracket",
    "[": "opening square bracket", "]": "closing square bracket", "{": "opening brace", "}": "closing brace",
    '"': "quotation mark", "“": "opening quotation mark", "”": "closing quotation mark", "'": "apostrophe",
    "’": "apostrophe", "‘": "opening apostrophe", "/": "slash", "\\": "backslash", "_": "underscore", "*": "asterisk",
    "&": "ampersand", "%": "percent sign", "$": "dollar sign", "#": "number sign", "+": "plus sign",
    "=": "equals sign", "<": "less-than sign", ">": "greater-than sign", "|": "vertical bar", "@": "at sign",
    "`": "backtick", "…": "ellipsis", "\n": "line break", "\n\n": "blank line", "\t": "tab",
}  # fmt: skip
JOINTS = ("or", "and", "after", "near")  # what a phrase is joined with; as words of their own they stand in quotes
_INITIAL = ("Ġ", "▁")


def shown(text: str, initial: bool) -> str:
    """A decoded token, which may begin a word (`initial`), as a phrase shows it; empty for what cannot be shown."""
    body = text.strip(" ")
    if not body:
        return "indentation" if len(text) > 1 else ""
    if body in SIGNS:
        return SIGNS[body]
    if not body.isprintable() or "\ufffd" in body:
        return "blank line" if body.count("\n") > 1 and not body.strip() else ""
    if re.fullmatch(r"[^\W\d_]+(?:['’][^\W\d_]+)?", body):
        whole = initial or body[0].isupper()
        return f"“{body}”" if whole and body in JOINTS else body if whole else f"-{body}"
    return "" if re.search(r"[\s,;“”]", body) else body  # nothing that ends a word or a phrase


class Vocabulary:
    """Words of a corpus in the target's tokens.

    Words that do not occur in it, by `count_V`, are left out.

    Attributes:
        words: as they are shown; place: of each of them.
        word_V: word of each token, int64; −1 where it is none.
        embedding_WD: mean of the centred unit embeddings of a word's tokens, float32.
    """

    def __init__(self, tokenizer: Any, embedding_VD: Tensor, count_V: npt.NDArray[np.int64]) -> None:
        self._tokenizer = tokenizer
        size = min(len(embedding_VD), len(tokenizer), len(count_V))
        used_V = torch.from_numpy(np.asarray(count_V[:size], dtype=np.float32))
        unit_VD = torch.nn.functional.normalize(embedding_VD[:size].float(), dim=-1)
        self._unit_VD = unit_VD - unit_VD[used_V > 0].mean(0)
        used = set(np.flatnonzero(count_V[:size]).tolist()) - set(tokenizer.all_special_ids)
        texts = {number: text for number in sorted(used) if (text := self._shown(number))}
        self.words: list[str] = list(dict.fromkeys(texts.values()))
        self.place = {text: place for place, text in enumerate(self.words)}
        token_T, word_T = list(texts), torch.tensor([self.place[text] for text in texts.values()], dtype=torch.long)
        self.word_V = np.full(max(len(count_V), len(tokenizer)), -1, dtype=np.int64)
        self.word_V[token_T] = word_T.numpy()
        weight_T = used_V[token_T]
        self._total_W = torch.zeros(len(self)).index_add_(0, word_T, weight_T)
        sum_WD = torch.zeros(len(self), self._unit_VD.shape[1])
        sum_WD.index_add_(0, word_T, self._unit_VD[token_T] * weight_T[:, None])
        self.embedding_WD = sum_WD / self._total_W.clamp_min(1)[:, None]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def width(self) -> int:
        """Width of an embedding."""
        return int(self.embedding_WD.shape[1])

    @cached_property
    def whole_W(self) -> npt.NDArray[np.bool_]:
        """Which words are whole ones of three letters or more: those that are named as standing nearby."""
        return np.array([len(word) >= 3 and word.isalpha() and word not in _NAMES for word in self.words], dtype=bool)

    @cached_property
    def common_W(self) -> Tensor:
        """The commonest words, which make up half of the text: function words and signs; bool (W,)."""
        order_W = self._total_W.argsort(descending=True, stable=True)
        before_W = self._total_W[order_W].cumsum(0) - self._total_W[order_W]
        common_W = torch.zeros(len(self), dtype=torch.bool)
        common_W[order_W[before_W < self._total_W.sum() / 2]] = True
        return common_W

    @cached_property
    def cost_W(self) -> Tensor:
        """Tokens that each word takes in a phrase at most, what joins it to the word before included, int64 (W,)."""
        inside_W, first_W = (self._lengths([before + word for word in self.words]) for before in (" ", ""))
        return torch.maximum(inside_W + self._joint, first_W)

    @cached_property
    def overhead(self) -> int:
        """Tokens of a phrase that its words do not account for: what "after" and "near" take beyond a joint."""
        longest = (max(self.tokens(name), self.tokens(f" {name}")) for name in ("after", "near"))
        return sum(max(0, tokens - self._joint) for tokens in longest)

    @cached_property
    def _joint(self) -> int:
        return max(self.tokens(text) for text in (",", " or", " and"))

    def _lengths(self, texts: list[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, dtype=torch.long)
        return torch.tensor([len(ids) for ids in self._tokenizer(texts, add_special_tokens=False)["input_ids"]])

    def tokens(self, text: str) -> int:
        """Length of a text in tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def embed(self, words: Sequence[str]) -> Tensor:
        """Sum of the words' embeddings, float32 (D,); one that is not known counts as the mean of its pieces."""
        total_D = torch.zeros(self.width)
        for word in words:
            if word in self.place:
                total_D += self.embedding_WD[self.place[word]]
                continue
            ids = self._tokenizer.encode(f" {word.strip('“”')}", add_special_tokens=False)
            known = [number for number in ids if number < len(self._unit_VD)]
            if known:
                total_D += self._unit_VD[known].mean(0)
        return total_D

    def _shown(self, token: int) -> str:
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        text = str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False))
        return shown(text, piece.startswith(_INITIAL) or text.startswith(" "))


_NAMES = {*SIGNS.values(), "indentation"}
