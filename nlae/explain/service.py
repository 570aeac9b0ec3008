"""Explain: activations of a text, a chat or directions, put into words and scored by what the words rebuild.

Every explanation is sampled with a seed made of (seed, passage, token, sample): reading fewer tokens or in
other batches changes none of them. Left out: anything that trains, prints or writes; the stage does that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.explain.base import Reader, Said, statistics_of
from nlae.explain.inputs import (
    ActivationInput,
    ChatInput,
    DirectionInput,
    Input,
    TextInput,
    load_inputs,
    parse_messages,
)
from nlae.explain.legend import plural
from nlae.explain.points import Point, to_passage, token_points, vector_points
from nlae.explain.reading import Reading, ReadingRow
from nlae.explain.tokens import Passage, select
from nlae.explain.vectors import alignment
from nlae.functional.randomness import derive_seed
from nlae.functional.reconstruction import per_token_fve, rank, shuffled_cosine, squared_error, unit

FIRST = 4


@dataclass(frozen=True)
class Estimate:
    """What is still to come, from the time that the first rows took."""

    rows: int
    seconds_each: float

    @property
    def seconds(self) -> float:
        """Time for all rows."""
        return self.rows * self.seconds_each


def explain(
    reader: Reader,
    source: Any = None,
    *,
    text: str | None = None,
    messages: Sequence[dict[str, Any]] | None = None,
    vectors: Tensor | npt.NDArray[Any] | None = None,
    directions: Tensor | npt.NDArray[Any] | None = None,
    tokens: str | int | Sequence[int] = "all",
    stride: int = 1,
    samples: int = 1,
    generate: int = 0,
    seed: int = 0,
    temperature: float = 1.0,
    batch_size: int = 16,
    strengths: Sequence[float] = (1.0,),
    random_directions: int = 2,
    table_rows: int | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Reading:
    """Read activations in words.

    Args:
        reader: an `nlae.Autoencoder`.
        source: any one of the next three, or inputs from `load_inputs`; give it, or one of the next four by name.
        text: a text, or a list of texts.
        messages: a chat, as a list of `role` and `content`.
        vectors: raw activations of the site, [N, D] or [D], read as they are.
        directions: steering vectors, probes, …, [N, D] or [D], read at the mean plus and minus a·direction.
        tokens: which tokens to read, see `nlae.explain.tokens.select`.
        stride: read every `stride`-th of them.
        samples: explanations for each activation.
        generate: let the target go on for this many tokens (a chat: answer) and read those too.
        seed: of the explanations and of the random directions.
        temperature: of the verbalizer; 0 is greedy.
        batch_size: explanations made at once.
        strengths: distances from the mean at which directions are read.
        random_directions: how many random directions stand beside each given one.
        table_rows: rows of the table in the terminal; the files hold all.
        on_estimate: called once, after the first few rows, when more are to come.
        on_progress: called with (rows done, rows in all).

    Raises:
        NlaeError: bad input, nothing selected, or numbers out of range.
    """
    if samples < 1 or batch_size < 1 or generate < 0 or temperature < 0:
        raise NlaeError("explain: samples and batch_size must be at least 1, generate and temperature at least 0")
    notes: list[str] = []
    passages: list[Passage] = []
    points: list[Point] = []
    for item in _one_source(source, text, messages, vectors, directions):
        if isinstance(item, TextInput | ChatInput):
            passage = to_passage(reader, item, generate, notes)
            points += token_points(reader, passage, len(passages), select(passage, tokens, stride))
        else:
            passage, found = vector_points(reader, item, len(passages), strengths, random_directions, seed)
            points += found
        passages.append(passage)
    rows = _read(reader, passages, points, samples, seed, temperature, batch_size, on_estimate, on_progress)
    notes += _closing_notes(reader, rows)
    facts = about(reader, samples, seed, temperature)
    return Reading(tuple(rows), tuple(passages), facts, tuple(notes), _others(reader), table_rows)


def _closing_notes(reader: Reader, rows: Sequence[ReadingRow]) -> list[str]:
    notes = []
    if gaps := sum(row.cosine is None for row in rows):
        notes.append(
            f"{plural(gaps, 'explanation')} came out empty, and this checkpoint holds no training mean to stand in for "
            "nothing said: no figure is shown there."
        )
    if statistics_of(reader) is None:
        notes.append(
            "This checkpoint holds no training statistics, so cosine stands in for FVE: "
            "it cannot be compared across models or layers."
        )
    return notes


def _one_source(source: Any, text: Any, messages: Any, vectors: Any, directions: Any) -> list[Input]:
    named = {"source": source, "text": text, "messages": messages, "vectors": vectors, "directions": directions}
    given = [key for key, value in named.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise NlaeError(f"explain: give one text, messages, vectors or directions; found {found}")
    found_inputs = as_inputs(named[given[0]])
    if directions is None:
        return found_inputs
    return [
        DirectionInput(f"direction {i}", one.vector_D)
        for i, one in enumerate(found_inputs)
        if isinstance(one, ActivationInput)
    ]


def as_inputs(source: Any) -> list[Input]:
    """What `explain` was handed, as inputs.

    Raises:
        NlaeError: something else.
    """
    if isinstance(source, str):
        return load_inputs(text=source)
    if isinstance(source, np.ndarray):
        source = torch.from_numpy(np.ascontiguousarray(source))
    if isinstance(source, Tensor):
        if source.ndim not in (1, 2) or not source.numel() or not bool(torch.isfinite(source).all()):
            raise NlaeError(
                f"explain: activations must be finite and of shape [D] or [N, D], found {tuple(source.shape)}"
            )
        rows_ND = source.detach().float().reshape(-1, source.shape[-1]).cpu()
        return [ActivationInput(f"activation {i}", row_D) for i, row_D in enumerate(rows_ND)]
    kinds = (TextInput, ChatInput, DirectionInput, ActivationInput)
    if isinstance(source, Sequence) and source and all(isinstance(item, kinds) for item in source):
        return list(source)
    if isinstance(source, Sequence) and source and all(isinstance(item, dict) for item in source):
        return [ChatInput("chat", parse_messages(list(source)))]
    if isinstance(source, Sequence) and source and all(isinstance(item, str) for item in source):
        return [as_inputs(item)[0] for item in source]
    raise NlaeError("explain: give a text, a list of messages, or activations of shape [N, D]")


def about(reader: Reader, samples: int, seed: int, temperature: float) -> dict[str, str]:
    """Where a reading comes from, for people."""
    prompt = getattr(getattr(reader, "prompt", None), "name", "")
    facts = {
        "target": str(getattr(reader.target, "source_name", "")),
        "site": str(reader.site.name),
        "prompt": str(prompt),
        "samples": str(samples),
        "temperature": f"{temperature:g}",
        "seed": str(seed),
    }
    return {key: value for key, value in facts.items() if value}


def _read(
    reader: Reader,
    passages: list[Passage],
    points: list[Point],
    samples: int,
    seed: int,
    temperature: float,
    batch_size: int,
    on_estimate: Callable[[Estimate], None] | None,
    on_progress: Callable[[int, int], None] | None,
) -> list[ReadingRow]:
    work = [(point, sample) for point in points for sample in range(samples)]
    rows: list[ReadingRow] = []
    parts_ND: list[Tensor] = []
    started = time.perf_counter()
    while len(rows) < len(work):
        part = work[len(rows) : len(rows) + (batch_size if rows else min(FIRST, batch_size))]
        activation_ND = torch.stack([point.activation_D for point, _ in part])
        seeds = [derive_seed(seed, "explain", point.passage, point.index, sample) for point, sample in part]
        said = reader.verbalize(activation_ND, seeds=seeds, temperature=temperature)
        pred_ND = reader.reconstruct([one.text for one in said]).float().cpu()
        parts_ND.append(pred_ND)
        first = not rows
        rows += _rows(reader, passages, part, activation_ND, said, pred_ND)
        if first and on_estimate and len(rows) < len(work):
            on_estimate(Estimate(len(work), (time.perf_counter() - started) / len(rows)))
        if on_progress:
            on_progress(len(rows), len(work))
    return _with_control(reader, rows, [point for point, _ in work], torch.cat(parts_ND)) if rows else rows


def _with_control(reader: Reader, rows: list[ReadingRow], points: list[Point], pred_ND: Tensor) -> list[ReadingRow]:
    """`rows` with what the words of the other activations would have scored."""
    true_ND = unit(torch.stack([point.activation_D for point in points]))
    about_N = torch.tensor([(point.passage << 32) + point.index for point in points])
    found_N = shuffled_cosine(pred_ND, true_ND, about_N)
    known = statistics_of(reader)
    if known is not None:
        found_N = per_token_fve(2 * (1 - found_N), known.variance)  # both are unit vectors
    return [replace(row, shuffled=_finite(value)) for row, value in zip(rows, found_N.tolist(), strict=True)]


def _rows(
    reader: Reader,
    passages: list[Passage],
    part: list[tuple[Point, int]],
    activation_ND: Tensor,
    said: Sequence[Said],
    pred_ND: Tensor,
) -> list[ReadingRow]:
    true_ND = unit(activation_ND)
    cosine = (true_ND * pred_ND).sum(dim=-1).tolist()
    known = statistics_of(reader)
    rebuilt_N = torch.isfinite(pred_ND).all(dim=-1)
    scores, ranks = (torch.full((len(part),), torch.nan, dtype=torch.float64) for _ in range(2))
    distractors_MD = getattr(reader, "distractors_MD", None)
    if known is not None and rebuilt_N.any():
        scores[rebuilt_N] = per_token_fve(squared_error(pred_ND[rebuilt_N], true_ND[rebuilt_N]), known.variance)
    if distractors_MD is not None and rebuilt_N.any():
        others_MD = distractors_MD.float().cpu()
        ranks[rebuilt_N] = rank(pred_ND[rebuilt_N], true_ND[rebuilt_N], others_MD)
    out = []
    for i, (point, sample) in enumerate(part):
        passage = passages[point.passage]
        turn = passage.turn_of(point.index)
        along = None
        if point.direction_D is not None and known is not None:
            along = float(alignment(pred_ND[i : i + 1], known.mean_D, point.direction_D[None])[0])
        out.append(
            ReadingRow(
                passage=point.passage,
                index=point.index,
                token=passage.pieces[point.index],
                token_id=passage.ids[point.index] if passage.ids else -1,
                role=turn.role,
                generated=turn.generated,
                sample=sample,
                explanation=said[i].text,
                fve=_finite(float(scores[i])),
                shuffled=None,
                rank=_finite(float(ranks[i])),
                cosine=_finite(cosine[i]),
                alignment=along,
                norm=float(point.activation_D.norm()),
                closed=bool(said[i].closed),
                n_tokens=int(said[i].n_tokens),
                mark=point.mark,
            )
        )
    return out


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _others(reader: Reader) -> int:
    distractors_MD = getattr(reader, "distractors_MD", None)
    return 0 if distractors_MD is None else len(distractors_MD)
