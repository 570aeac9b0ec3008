"""The texts of one layer: what is put into words, and what was written, line by line, so that a kill loses little.

A request names a context and what is done to its activation; its vector is made when its batch is written. Batches are
fixed, and only whole ones are kept, so that a resumed layer has the same texts as an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from nlae.foreign import parse_json
from nlae.store.arrow import write_text

SHARED, WITH, WITHOUT, WRITE, HELD_OUT = "shared", "with", "without", "write", "held out"


@dataclasses.dataclass(frozen=True)
class Request:
    """One activation to be put into words.

    Attributes:
        kind: `shared` and `with` (a context's activation as it is), `without` (the neuron at its mean), `write` (the
            write direction on top of the mean), `held out` (a context of the panel `report`).
        context: row of the training panel (of the panel `report` for `held out`); −1 for `write`.
        neuron: index; −1 where none is meant.
        sign: +1 or −1; 0 where none is meant.
    """

    kind: str
    context: int = -1
    neuron: int = -1
    sign: int = 0


@dataclasses.dataclass(frozen=True)
class VectorMaker:
    """Activations that requests ask for.

    Attributes:
        train_MN: neurons at the contexts of the training panel.
        report_MN: at those of the panel `report`.
        mean_N: training mean.
        reach: length of the write direction's step: the typical distance of a context from the mean.
        unit_nN: unit vectors of directions that are described in place of the neurons themselves; None for neurons.
    """

    train_MN: Tensor
    report_MN: Tensor
    mean_N: Tensor
    reach: float
    unit_nN: Tensor | None = None

    @classmethod
    def of(cls, train_MN: Tensor, report_MN: Tensor, unit_nN: Tensor | None = None) -> VectorMaker:
        """From the panels of a layer."""
        mean_N = train_MN.mean(0)
        return cls(train_MN, report_MN, mean_N, float((train_MN - mean_N).norm(dim=-1).median()), unit_nN)

    def __call__(self, request: Request) -> Tensor:
        """The raw activation, float32 (N,)."""
        if request.kind == HELD_OUT:
            return self.report_MN[request.context].clone()
        if request.kind == WRITE:
            return self._moved(self.mean_N.clone(), request.neuron, request.sign * self.reach)
        vector_N = self.train_MN[request.context].clone()
        if request.kind == WITHOUT:
            away_N = self.mean_N - vector_N
            unit_N = None if self.unit_nN is None else self.unit_nN[request.neuron]
            back = away_N[request.neuron] if unit_N is None else away_N @ unit_N
            return self._moved(vector_N, request.neuron, float(back))
        return vector_N

    def _moved(self, vector_N: Tensor, neuron: int, step: float) -> Tensor:
        if self.unit_nN is None:
            vector_N[neuron] += step
            return vector_N
        return vector_N + step * self.unit_nN[neuron]


def write_texts(
    path: Path,
    requests: Sequence[Request],
    verbalize: Callable[[list[int]], list[str]],
    *,
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """The text of every request, in order.

    Args:
        path: file of lines that grows by one batch at a time; what it holds already is not written again.
        requests: what is asked.
        verbalize: writes the texts of a batch, given the places of its requests.
        batch_size: requests per call.
        progress: called with the number of texts just done; what was there already counts too.
    """
    texts = _kept(path, requests, batch_size)
    if progress is not None and texts:
        progress(len(texts))
    with path.open("a", encoding="utf-8") as file:
        for start in range(len(texts), len(requests), batch_size):
            places = list(range(start, min(start + batch_size, len(requests))))
            written = verbalize(places)
            lines = [_line(requests[i], text) for i, text in zip(places, written, strict=True)]
            file.write("".join(lines))
            file.flush()
            texts += written
            if progress is not None:
                progress(len(places))
    return texts


def _line(request: Request, text: str) -> str:
    return json.dumps({**dataclasses.asdict(request), "text": text}, ensure_ascii=False) + "\n"


def _kept(path: Path, requests: Sequence[Request], batch_size: int) -> list[str]:
    """Texts of whole batches that a killed run has left; anything behind them is cut off."""
    if not path.is_file():
        return []
    # bytes: a kill may cut a character, and a text may hold what `str.splitlines` takes for an end of line
    *lines, _ = path.read_bytes().split(b"\n")
    texts: list[str] = []
    for request, line in zip(requests, lines, strict=False):
        try:
            found = parse_json(line)
        except ValueError:
            break
        if Request(*(found[field.name] for field in dataclasses.fields(Request))) != request:
            break
        texts.append(str(found["text"]))
    if len(texts) < len(requests):
        texts = texts[: len(texts) // batch_size * batch_size]
    write_text(path, "".join(map(_line, requests, texts)))
    return texts
