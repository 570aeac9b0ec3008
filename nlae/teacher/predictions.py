"""What the target itself expects next at every described position: one forward per document, head only where needed.

Left out: sampling longer continuations (one forward per word; the single next word already carries most of what the
activation is for).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nlae.functional.batching import token_batches
from nlae.teacher.words import is_key, same_word

if TYPE_CHECKING:
    from nlae.target import Target

_REACH = 4  # tokens before the last among which the word before is looked for


@dataclass(frozen=True)
class Prediction:
    """The target's expectation after one prefix: next-token strings with their probabilities, best first."""

    pieces: tuple[str, ...]
    probabilities: tuple[float, ...]
    neighbours: tuple[str, ...] = ()
    """Words whose input embedding lies nearest that of the prefix's last token, its own forms left out."""
    before: tuple[str, ...] = ()
    """The same for the whole word before the last token, if one stands within the few tokens before it."""


class Predictor:
    """Next-token predictions and embedding neighbours of one target, in batches of whole documents."""

    def __init__(self, target: Target, *, top: int = 40, neighbours: int = 6, batch_tokens: int = 2048) -> None:
        """`top` next tokens are kept per position, `neighbours` words per last token; `batch_tokens` per forward."""
        self.target = target
        self.top = top
        self.neighbours = neighbours
        self.batch_tokens = batch_tokens
        self._near: dict[int, tuple[str, ...]] = {}
        self._text: dict[int, str] = {}
        self._anchor: list[int] = list(target.tokenizer.encode("a", add_special_tokens=False))[-1:]
        self._words: tuple[torch.Tensor, list[str]] | None = None

    def text_of(self, index: int) -> str:
        """Text of one token with its leading space kept, remembered."""
        if index not in self._text:
            tokenizer = self.target.tokenizer
            # behind another token, since many decoders strip the space that opens a text
            whole, alone = str(tokenizer.decode([*self._anchor, index])), str(tokenizer.decode(self._anchor))
            kept = bool(self._anchor) and whole.startswith(alone)
            self._text[index] = whole[len(alone) :] if kept else str(tokenizer.decode([index]))
        return self._text[index]

    @torch.inference_mode()
    def predict(
        self,
        documents: Sequence[tuple[Sequence[int], Sequence[int]]],
        on_document: Callable[[int, list[Prediction]], None],
    ) -> None:
        """For every (token ids, positions) call `on_document(index, predictions)`, one prediction per position.

        Positions are 0-based: the prediction at p has read the tokens 0..p.
        """
        model = self.target.model
        decoder = self.target.architecture.decoder(model)
        device = next(model.parameters()).device
        for batch in token_batches([len(ids) for ids, _ in documents], self.batch_tokens):
            length = max(len(documents[i][0]) for i in batch)
            ids_BT = torch.zeros(len(batch), length, dtype=torch.long)
            mask_BT = torch.zeros(len(batch), length, dtype=torch.long)
            for at, index in enumerate(batch):
                ids_T = torch.tensor(list(documents[index][0]), dtype=torch.long)
                ids_BT[at, : len(ids_T)], mask_BT[at, : len(ids_T)] = ids_T, 1
            output = decoder(input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), use_cache=False)
            hidden_BTD = output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]
            for at, index in enumerate(batch):
                ids, positions = documents[index]
                logits_PV = self.target.logits(hidden_BTD[at, torch.as_tensor(list(positions), device=device)])
                tails = [[int(i) for i in ids[max(0, p - _REACH) : p + 1]] for p in positions]
                on_document(index, self._read(logits_PV, tails))

    def _read(self, logits_PV: torch.Tensor, tails: list[list[int]]) -> list[Prediction]:
        top = torch.softmax(logits_PV, dim=-1).topk(min(self.top, logits_PV.shape[-1]), dim=-1)
        self._find_neighbours([index for tail in tails for index in tail if index not in self._near])
        return [
            Prediction(
                pieces=tuple(self.text_of(int(index)) for index in indices),
                probabilities=tuple(float(p) for p in probabilities),
                neighbours=self._near.get(tail[-1], ()),
                before=self._before(tail),
            )
            for indices, probabilities, tail in zip(top.indices.tolist(), top.values.tolist(), tails, strict=True)
        ]

    def _before(self, tail: list[int]) -> tuple[str, ...]:
        """Relatives of the last word before the final token; none if that word is made of several tokens."""
        for at in range(len(tail) - 2, -1, -1):
            piece = self.text_of(tail[at])
            if not any(letter.isalpha() for letter in piece):
                continue
            following = self.text_of(tail[at + 1])
            return () if following[:1].isalpha() else self._near.get(tail[at], ())
        return ()

    def _word_table(self) -> tuple[torch.Tensor, list[str]]:
        """Centred unit embeddings of the tokens that are whole words (lower case or capitalised), and those words."""
        if self._words is None:
            weight_VD = self.target.model.get_input_embeddings().weight.detach()
            special = set(getattr(self.target.tokenizer, "all_special_ids", []))
            size = min(len(self.target.tokenizer), weight_VD.shape[0])
            texts = {index: self.text_of(index) for index in range(size) if index not in special}
            table = {index: text[1:] for index, text in texts.items() if _whole_word(text)}
            self._centre_D = weight_VD.float().mean(0)
            kept = torch.tensor(list(table), dtype=torch.long, device=weight_VD.device)
            chosen_WD = weight_VD[kept].float() - self._centre_D
            unit_WD = chosen_WD / chosen_WD.norm(dim=1, keepdim=True).clamp_min(1e-8)
            self._words = (unit_WD, list(table.values()))
        return self._words

    def _find_neighbours(self, indices: list[int]) -> None:
        """Fill the memory of embedding neighbours for token ids that are whole words; others get none."""
        fresh = list(dict.fromkeys(indices))
        wanted = [index for index in fresh if self.neighbours and _whole_word(self.text_of(index))]
        self._near.update(dict.fromkeys(fresh, ()))
        unit_WD, table = self._word_table()
        if not wanted or not table:
            return
        weight_VD = self.target.model.get_input_embeddings().weight.detach()
        rows_ND = weight_VD[torch.tensor(wanted, dtype=torch.long, device=weight_VD.device)].float() - self._centre_D
        best = (rows_ND @ unit_WD.T).topk(min(32, len(table)), dim=1).indices.tolist()
        for index, near in zip(wanted, best, strict=True):
            own = self.text_of(index).strip()
            others = [table[i] for i in near if table[i].islower() == own.islower() and not _alike(table[i], own)]
            self._near[index] = tuple(others[: self.neighbours])


def _alike(word: str, own: str) -> bool:
    """True if `word` is a form or a piece of `own`."""
    return same_word(word, own) or own.lower().startswith(word.lower()) or word.lower().startswith(own.lower())


def _whole_word(text: str) -> bool:
    """True for a token that is a space and a key word, lower case or capitalised."""
    word = text[1:]
    return text[:1] == " " and word.isalpha() and word[1:].islower() and is_key(word)


def next_words(prediction: Prediction, limit: int = 12) -> list[tuple[str, float]]:
    """Distinct whole words among the predicted next tokens, with probability, best first (case-insensitive)."""
    found: dict[str, tuple[str, float]] = {}
    for piece, probability in zip(prediction.pieces, prediction.probabilities, strict=True):
        word = piece.strip()
        if piece[:1] in " \n" and word.isalpha() and (len(word) > 1 or word in "aAI"):
            known = found.get(word.lower(), (word, 0.0))
            found[word.lower()] = (known[0], known[1] + probability)
    ranked = sorted(found.values(), key=lambda item: -item[1])
    return ranked[:limit]


def glued_share(prediction: Prediction) -> float:
    """Probability that the next token continues the word, i.e. begins with a letter and no space."""
    pairs = zip(prediction.pieces, prediction.probabilities, strict=True)
    return math.fsum(p for piece, p in pairs if piece[:1].isalpha())


def glued_endings(prediction: Prediction, limit: int = 2) -> list[str]:
    """The likeliest letters that complete an unfinished word, at least two letters each."""
    found = [piece for piece in prediction.pieces if piece.isalpha() and piece.islower() and len(piece) > 1]
    return list(dict.fromkeys(found))[:limit]


def mark_share(prediction: Prediction, marks: str) -> float:
    """Probability that the next token begins with one of `marks`, a leading space ignored."""
    pairs = zip(prediction.pieces, prediction.probabilities, strict=True)
    return math.fsum(p for piece, p in pairs if piece.strip(" ")[:1] and piece.strip(" ")[0] in marks)
