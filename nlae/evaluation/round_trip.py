"""Explanations and reconstructions in bulk, with a bar, and kept chunk by chunk so that a killed evaluation goes on.

Chunks have a fixed size and order: a resumed run hands the model the same batches as an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nlae.activations import ActivationRows
from nlae.evaluation.base import RoundTrip
from nlae.files.foreign import parse_json
from nlae.functional.randomness import derive_seed
from nlae.functional.reconstruction import unit
from nlae.model.site_autoencoder import Explanation
from nlae.terminal.progress import Bar, track

CHUNK = 256
FOLDER = "texts"


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How explanations are sampled.

    Attributes:
        name: of the pass; its chunks are kept under this name.
        temperature: of sampling; 0 is greedy.
        inject: False leaves the marker's own embedding in the slot.
        seed: of the sampling noise, which is a function of (seed, "evaluate", row).
        batch_size: rows together.
    """

    name: str
    seed: int
    temperature: float = 1.0
    inject: bool = True
    batch_size: int = 64


def write(autoencoder: RoundTrip, rows: ActivationRows, sampling: Sampling, folder: Path) -> list[Explanation]:
    """One explanation for each of `rows`; chunks already in `folder` are not written again."""
    texts: list[Explanation] = []
    with Bar(f"verbalize ({sampling.name})", len(rows)) as bar:
        for start in range(0, len(rows), CHUNK):
            chosen = list(range(start, min(start + CHUNK, len(rows))))
            numbers = [int(rows.row[i]) for i in chosen]
            path = folder / FOLDER / f"{sampling.name}-{start // CHUNK:05d}.json"
            kept = _load(path, numbers)
            if kept is not None:
                bar.advance(len(kept))
            else:
                written = autoencoder.verbalize(
                    rows.activations(chosen),
                    seeds=[derive_seed(sampling.seed, "evaluate", number) for number in numbers],
                    temperature=sampling.temperature,
                    batch_size=sampling.batch_size,
                    inject=sampling.inject,
                    progress=lambda done: bar.advance(done),
                )
                kept = [Explanation(one.text, bool(one.closed), int(one.n_tokens)) for one in written]
                _save(path, numbers, kept)
            texts.extend(kept)
    return texts


def read(
    reader: Callable[[list[str]], Tensor], texts: Sequence[str], constant_D: Tensor, batch_size: int, name: str
) -> Tensor:
    """Unit vectors [N, D] in float32 on the CPU, one for each text; equal texts are read once.

    An empty text is `constant_D` (μ/‖μ‖) whoever the reader is.
    """
    distinct = sorted({text for text in texts if text.strip()}, key=lambda text: (len(text), text))
    place = {text: index for index, text in enumerate(distinct)}
    parts = [
        unit(reader(distinct[start : start + batch_size]).detach()).cpu()
        for start in track(range(0, len(distinct), batch_size), description=f"read ({name})")
    ]
    known_MD = torch.cat([*parts, constant_D.float().cpu()[None]])
    return known_MD[torch.tensor([place.get(text, -1) for text in texts])]


def read_lengths(autoencoder: RoundTrip, texts: Sequence[str]) -> tuple[Tensor, int] | None:
    """Tokens that the reconstructor reads for each text (template and special tokens included), and those of no text.

    None for an autoencoder whose reconstructor does not show its token ids.
    """
    encode = getattr(getattr(autoencoder, "reconstructor", None), "encode", None)
    if encode is None:
        return None
    lengths = [encode(list(texts[start : start + CHUNK]))[1].sum(dim=1).cpu() for start in range(0, len(texts), CHUNK)]
    return torch.cat(lengths).double(), int(encode([""])[1].sum())


def _save(path: Path, numbers: list[int], texts: list[Explanation]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"rows": numbers, "texts": [dataclasses.astuple(text) for text in texts]}), "utf-8")
    temporary.replace(path)


def _load(path: Path, numbers: list[int]) -> list[Explanation] | None:
    if not path.is_file():
        return None
    held = parse_json(path.read_text("utf-8"))
    return [Explanation(*text) for text in held["texts"]] if held["rows"] == numbers else None
