"""Blind matching: which of four contexts with the same last token does an explanation belong to?

Four contexts that end on one token leave nothing to be guessed from that token. Three judges: the reconstructor (the
candidate whose activation is nearest to what it rebuilds), the target as a language model (the context under which the
explanation is likeliest; dividing by its likelihood without a context, as PMI does, changes no ranking because the
explanation is the same for all four), and people: `matching.jsonl` is the sheet, `matching_key.jsonl` the answers. Word
overlap is left out: it rewards quotation. Chance is one in four.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.activations import ActivationRows
from nlae.evaluation.quotes import bare_target, start_token
from nlae.files.arrow import write_text
from nlae.functional.bootstrap import wilson
from nlae.functional.randomness import derive_seed
from nlae.functional.reconstruction import squared_error, unit
from nlae.terminal.progress import track

CHOICES = 4
BRIDGE = "\n\nNotes on the text above: "


@dataclasses.dataclass(frozen=True)
class Item:
    """One explanation and its candidates.

    Attributes:
        index: of the explained row, among the rows that were measured.
        candidates: indices into the pool, in the shuffled order shown.
        answer: place of the true one.
    """

    index: int
    candidates: tuple[int, ...]
    answer: int


def draw(rows: ActivationRows, pool: ActivationRows, count: int, seed: int) -> list[Item]:
    """Up to `count` rows, one source work after the other, each with three of other works on the same token.

    Args:
        rows: measured rows, which have explanations.
        pool: rows that candidates come from; holds all of `rows`.
        count: number of items wanted.
        seed: of rows, candidates and their order. Nothing that was written or rebuilt is looked at.
    """
    place = {int(number): index for index, number in enumerate(pool.row)}
    items: list[Item] = []
    for index in _by_turns(rows, seed):
        if len(items) >= count:
            break
        same = np.flatnonzero((pool.token_id == rows.token_id[index]) & (pool.source != rows.source[index]))
        if len(same) < CHOICES - 1:
            continue
        rng = np.random.default_rng(derive_seed(seed, "matching", int(rows.row[index])))
        shown = [place[int(rows.row[index])], *rng.choice(same, CHOICES - 1, replace=False).tolist()]
        order = rng.permutation(CHOICES).tolist()
        items.append(Item(index, tuple(int(shown[i]) for i in order), order.index(0)))
    return items


def match_reader(items: Sequence[Item], pred_ND: Tensor, pool: ActivationRows) -> list[int]:
    """The candidate whose unit activation is nearest to the reconstruction; one choice per item."""
    choices = []
    for item in items:
        candidates_CD = unit(pool.activations(list(item.candidates)))
        distances_C = squared_error(pred_ND[item.index].expand_as(candidates_CD), candidates_CD)
        choices.append(int(distances_C.argmin()))
    return choices


def match_lm(autoencoder: Any, items: Sequence[Item], texts: Sequence[str], pool: ActivationRows) -> list[int]:
    """The context under which the bare target finds the explanation likeliest; one choice per item."""
    tokenizer = autoencoder.target.tokenizer
    start, bridge = start_token(tokenizer), tokenizer.encode(BRIDGE, add_special_tokens=False)
    choices = []
    for item in track(items, description="match by the target"):
        said = tokenizer.encode(texts[item.index], add_special_tokens=False)
        if not said:
            choices.append(0)
            continue
        before = [[start, *pool.context_ids(place), *bridge] for place in item.candidates]
        choices.append(int(log_likelihood(autoencoder, before, said).argmax()))
    return choices


@torch.no_grad()
def log_likelihood(autoencoder: Any, before: Sequence[Sequence[int]], said: Sequence[int]) -> Tensor:
    """Log-probability in nats of the same tokens after each of several beginnings, float64 [B]."""
    target = autoencoder.target
    length = max(map(len, before)) + len(said)
    ids_BT = torch.zeros(len(before), length, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for i, ids in enumerate(before):
        ids_BT[i, : len(ids) + len(said)] = torch.tensor([*ids, *said])
        mask_BT[i, : len(ids) + len(said)] = 1
    with bare_target(autoencoder):
        decoder = target.architecture.decoder(target.model)
        hidden_BTD = decoder(input_ids=ids_BT.to(target.device), attention_mask=mask_BT.to(target.device))
        # the state before a token predicts it
        spans = [slice(len(ids) - 1, len(ids) + len(said) - 1) for ids in before]
        part_BSD = torch.stack([hidden_BTD.last_hidden_state[i, span] for i, span in enumerate(spans)])
        logits_BSV = target.logits(part_BSD)
    wanted_BS1 = torch.tensor([list(said)] * len(before), device=logits_BSV.device).unsqueeze(-1)
    total_B: Tensor = logits_BSV.log_softmax(-1).gather(-1, wanted_BS1).double().sum(dim=(1, 2)).cpu()
    return total_B


def score(name: str, items: Sequence[Item], choices: Sequence[int]) -> dict[str, float]:
    """Share of right choices under `name`, with Wilson's interval."""
    right = sum(item.answer == choice for item, choice in zip(items, choices, strict=True))
    low, high = wilson(right, len(items))
    return {name: right / len(items), f"{name}_low": low, f"{name}_high": high}


def write_sheet(
    folder: Path,
    items: Sequence[Item],
    texts: Sequence[str],
    rows: ActivationRows,
    context: Callable[[int], str],
    pool: ActivationRows,
) -> None:
    """Write the sheet for people (`matching.jsonl`) and, apart from it, the key (`matching_key.jsonl`).

    Args:
        folder: where they go.
        items: what was drawn.
        texts: explanations of the measured rows.
        rows: measured rows.
        context: text of the context of a row number.
        pool: rows of the candidates.
    """
    sheet, key = [], []
    for number, item in enumerate(items, start=1):
        shown = [context(int(pool.row[place])) for place in item.candidates]
        sheet.append({"item": number, "explanation": texts[item.index], "candidates": shown})
        key.append({"item": number, "answer": item.answer + 1, "row": int(rows.row[item.index])})
    for name, lines in (("matching.jsonl", sheet), ("matching_key.jsonl", key)):
        write_text(folder / name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _by_turns(rows: ActivationRows, seed: int) -> npt.NDArray[np.int64]:
    """All rows in a random order in which every source work comes once before any comes twice."""
    rng = np.random.default_rng(derive_seed(seed, "matching"))
    order = rng.permutation(len(rows))
    turn: dict[str, int] = {}
    turns = np.empty(len(rows), dtype=np.int64)
    for index in order:
        name = str(rows.source[index])
        turns[index] = turn[name] = turn.get(name, -1) + 1
    return order[np.argsort(turns[order], kind="stable")]
