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

from nlae.teacher.words import is_key, same_word

if TYPE_CHECKING:
    from nlae.target import Target


@dataclass(frozen=True)
class Prediction:
    """The target's expectation after one prefix: next-token strings with their probabilities, best first."""

    pieces: tuple[str, ...]
    probabilities: tuple[float, ...]
    neighbours: tuple[str, ...] = ()
    """Words whose input embedding lies nearest that of the prefix's last token, the word itself and its forms left out."""


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices grouped into right-padded batches of at most `budget` tokens, longest first; a longer single stands alone."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


class Predictor:
    """Next-token predictions and embedding neighbours of one target, in batches of whole documents."""

    def __init__(self, target: Target, *, top: int = 40, neighbours: int = 6, batch_tokens: int = 2048) -> None:
        """`top` next tokens are kept per position, `neighbours` words per last token; `batch_tokens` bounds one forward."""
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
        """For every (token ids, positions) call `on_document(index, predictions)`, one prediction per position, in order.

        Positions are 0-based: the prediction at p has read the tokens 0..p.
        """
        model = self.target.model
        decoder = self.target.architecture.decoder(model)
        head = model.get_output_embeddings()
        device = next(model.parameters()).device
        for batch in plan_batches([len(ids) for ids, _ in documents], self.batch_tokens):
            length = max(len(documents[i][0]) for i in batch)
            ids_BT = torch.zeros(len(batch), length, dtype=torch.long)
            mask_BT = torch.zeros(len(batch), length, dtype=torch.long)
            for at, index in enumerate(batch):
                ids = torch.tensor(list(documents[index][0]), dtype=torch.long)
                ids_BT[at, : len(ids)], mask_BT[at, : len(ids)] = ids, 1
            output = decoder(input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), use_cache=False)
            hidden_BTD = output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]
            for at, index in enumerate(batch):
                ids, positions = documents[index]
                logits_PV = head(hidden_BTD[at, torch.as_tensor(list(positions), device=device)]).float()
                on_document(index, self._read(logits_PV, [int(ids[p]) for p in positions]))

    def _read(self, logits_PV: torch.Tensor, last_ids: list[int]) -> list[Prediction]:
        top = torch.softmax(logits_PV, dim=-1).topk(min(self.top, logits_PV.shape[-1]), dim=-1)
        self._find_neighbours([index for index in last_ids if index not in self._near])
        return [
            Prediction(
                pieces=tuple(self.text_of(int(index)) for index in indices),
                probabilities=tuple(float(p) for p in probabilities),
                neighbours=self._near.get(last, ()),
            )
            for indices, probabilities, last in zip(top.indices.tolist(), top.values.tolist(), last_ids, strict=True)
        ]

    def _word_table(self) -> tuple[torch.Tensor, list[str]]:
        """Centred unit embeddings of the tokens that are whole lower-case words, and those words."""
        if self._words is None:
            weight_VD = self.target.model.get_input_embeddings().weight.detach()
            special = set(getattr(self.target.tokenizer, "all_special_ids", []))
            size = min(len(self.target.tokenizer), weight_VD.shape[0])
            texts = {index: self.text_of(index) for index in range(size) if index not in special}
            table = {i: t.strip() for i, t in texts.items() if t.startswith(" ") and t.strip().isalpha() and t.strip().islower()}
            kept = [index for index, text in table.items() if is_key(text)]
            self._centre_D = weight_VD.float().mean(0)
            chosen = weight_VD[torch.tensor(kept, dtype=torch.long, device=weight_VD.device)].float() - self._centre_D
            unit_WD = chosen / chosen.norm(dim=1, keepdim=True).clamp_min(1e-8)
            self._words = (unit_WD, [table[index] for index in kept])
        return self._words

    def _find_neighbours(self, indices: list[int]) -> None:
        """Fill the memory of embedding neighbours for token ids that are whole words; others get none."""
        wanted = []
        for index in dict.fromkeys(indices):
            own = self.text_of(index)
            if own.startswith(" ") and is_key(own.strip()) and own.strip().isalpha():
                wanted.append(index)
            else:
                self._near[index] = ()
        if not wanted or not self.neighbours:
            self._near.update({index: () for index in wanted})
            return
        unit_WD, table = self._word_table()
        if not table:
            self._near.update({index: () for index in wanted})
            return
        weight_VD = self.target.model.get_input_embeddings().weight.detach()
        rows_ND = weight_VD[torch.tensor(wanted, dtype=torch.long, device=weight_VD.device)].float() - self._centre_D
        scores_NW = rows_ND @ unit_WD.T
        best = scores_NW.topk(min(24, len(table)), dim=1).indices.tolist()
        for index, near in zip(wanted, best, strict=True):
            own = self.text_of(index).strip()
            others = [table[i] for i in near if not same_word(table[i], own)]
            self._near[index] = tuple(others[: self.neighbours])


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


def mark_share(prediction: Prediction, marks: str) -> float:
    """Probability that the next token begins with one of `marks`, a leading space ignored."""
    pairs = zip(prediction.pieces, prediction.probabilities, strict=True)
    return math.fsum(p for piece, p in pairs if piece.strip(" ")[:1] and piece.strip(" ")[0] in marks)
