"""The activations to read, of tokens, directions or given as they are; and which are unlike those trained on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.explain import vectors
from nlae.explain.base import Reader, statistics_of
from nlae.explain.inputs import ActivationInput, ChatInput, DirectionInput, TextInput
from nlae.explain.tokens import Passage, Turn, encode, extend
from nlae.target import Site
from nlae.target.model import unknown_ids
from nlae.target.trunk import site_width

log = logging.getLogger(__name__)
LOUD = 10.0


@dataclass(frozen=True)
class Point:
    """One activation to read."""

    passage: int
    index: int
    activation_D: Tensor
    direction_D: Tensor | None
    mark: str


def to_passage(reader: Reader, item: TextInput | ChatInput, generate: int, notes: list[str]) -> Passage:
    """`item` as tokens, with `generate` more of the target's own; a cut is added to `notes`.

    Raises:
        NlaeError: the text leaves no room for the answer.
    """
    tokenizer, model = reader.target.tokenizer, reader.target.model
    passage = encode(item, tokenizer, answer=generate > 0 and isinstance(item, ChatInput))
    limit = int(getattr(getattr(model, "config", None), "max_position_embeddings", 0) or 0)
    if limit and len(passage.ids) + generate > limit:
        if generate:
            raise NlaeError(
                f"generate={generate}: {item.name} has {len(passage.ids)} tokens and the target reads {limit} at most"
            )
        notes.append(
            f"{item.name}: the target reads at most {limit} tokens; the other {len(passage.ids) - limit} were left out."
        )
        log.warning(notes[-1])
        passage = _cut(passage, limit)
    if generate:
        passage = extend(passage, _continue(reader, passage.ids, generate), tokenizer)
    return passage


def _cut(passage: Passage, n: int) -> Passage:
    turns = tuple(Turn(t.role, t.start, min(t.end, n), t.generated) for t in passage.turns if t.start < n)
    return Passage(passage.name, passage.kind, passage.ids[:n], passage.pieces[:n], turns)


@torch.no_grad()
def _continue(reader: Reader, ids: Sequence[int], n: int) -> list[int]:
    """The target's own most likely continuation, at most `n` tokens, its end token included."""
    model, tokenizer = reader.target.model, reader.target.tokenizer
    ids_1T = torch.tensor([list(ids)], device=next(model.parameters()).device)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    backbone = getattr(reader, "backbone", None)
    # the roles' adapters live in the same weights: the target's own words need them switched off
    with backbone.use(None) if backbone is not None else contextlib.nullcontext():
        out_1T = model.generate(
            input_ids=ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            max_new_tokens=n,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=pad if pad is not None else 0,
            suppress_tokens=unknown_ids(model, tokenizer),
        )
    return [int(i) for i in out_1T[0, ids_1T.shape[1] :]]


def token_points(reader: Reader, passage: Passage, number: int, chosen: list[int]) -> list[Point]:
    """The activations of the chosen tokens of passage `number`."""
    activation_TD = reader.activations([list(passage.ids)])[0].float().cpu()
    return [Point(number, i, activation_TD[i], None, mark(reader, i, float(activation_TD[i].norm()))) for i in chosen]


def mark(reader: Reader, position: int, norm: float) -> str:
    """Why a position is unlike those trained on; "" when it is not."""
    first = int(getattr(reader.site, "min_position", 0) or 0)
    meta = getattr(reader, "meta", None) or {}
    last = (meta.get("training") or {}).get("max_position")
    statistics = statistics_of(reader)
    typical = 0.0 if statistics is None else float(statistics.norm_median)
    if position < first:
        return f"Outside what was trained: training positions start at {first}."
    if last is not None and position > int(last):
        return f"Outside what was trained: training positions end at {int(last)}."
    if typical and norm > LOUD * typical:
        return f"Outside what was trained: the norm is {norm / typical:.0f} times the median (a massive activation)."
    return ""


def vector_points(
    reader: Reader,
    item: DirectionInput | ActivationInput,
    number: int,
    strengths: Sequence[float],
    random: int,
    seed: int,
) -> tuple[Passage, list[Point]]:
    """Probes of a direction, or one activation as it is, as a passage of labels and its points.

    Raises:
        NlaeError: the vector is not as wide as the site.
    """
    width = _width(reader)
    if width is not None and item.vector_D.numel() != width:
        raise NlaeError(
            f"vector=: `{item.name}` has {item.vector_D.numel()} entries, but the site has {width}: "
            "give a vector of the same model and site"
        )
    if isinstance(item, ActivationInput):
        found = [vectors.Probe(item.name, item.vector_D, None)]
    else:
        found = vectors.probes(item, statistics_of(reader), strengths=strengths, random=random, seed=seed)
    labels = tuple(probe.label for probe in found)
    passage = Passage(item.name, "vector", (), labels, (Turn("", 0, len(labels)),))
    return passage, [Point(number, i, p.activation_D, p.direction_D, "") for i, p in enumerate(found)]


def _width(reader: Reader) -> int | None:
    """Entries of one activation, where the reader can say."""
    statistics = statistics_of(reader)
    if statistics is not None:
        return statistics.mean_D.numel()
    return site_width(reader.target.model, reader.site) if isinstance(reader.site, Site) else None
