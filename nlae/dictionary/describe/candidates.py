"""Which texts each entry of a layer may choose among, and what has to be put into words for that.

Neurons, their decoys and permuted neurons get the same kinds and numbers of candidates, so that best-of-n favours none
of them; rotated directions get the shared texts alone, as all entries outside the sample do.
Shared texts come first, the one nearest to the entry's others (their medoid) at their head; then, for the sample, the
strongest context with and without the entry's own contribution, its write direction, and key words of its exemplars.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from nlae.dictionary.columns import Columns
from nlae.dictionary.describe.cover import Ints, cover
from nlae.dictionary.describe.texts import HELD_OUT, SHARED, WITH, WITHOUT, WRITE, Request
from nlae.dictionary.score.panels import SIGNS
from nlae.dictionary.settings import OWN

COVERED = 8  # strongest contexts of an entry that the shared texts should touch


@dataclasses.dataclass(frozen=True)
class Sample:
    """Entries of one group of columns that get candidates of their own.

    Attributes:
        neuron: ascending, int64 [S].
        sign: 0 for "+", 1 for "−", int64 [S].
        column: place of each neuron in its group, int64 [S]; None where that is the neuron's number.
    """

    neuron: Ints
    sign: Ints
    column: Ints | None = None

    def __len__(self) -> int:
        return len(self.neuron)

    @property
    def place(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Index of the entries into tensors (2, n, …) of their group."""
        return torch.from_numpy(self.sign), torch.from_numpy(self.neuron if self.column is None else self.column)

    @classmethod
    def none(cls) -> Sample:
        """No entries."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def among(self, drawn: Ints) -> Sample:
        """The entries of those neurons that were drawn, ascending, for a group with one column for each of these."""
        keep = np.isin(self.neuron, drawn)
        return Sample(self.neuron[keep], self.sign[keep], np.searchsorted(drawn, self.neuron[keep]))


@dataclasses.dataclass(frozen=True)
class TextPlan:
    """What is put into words for one layer.

    Attributes:
        requests: in order; the first `len(shared)` are the shared contexts.
        shared: their rows in the training panel, int64 [C].
        own: (group, kind) -> place in `requests` per sampled entry, −1 for none, int64 [S].
        held_out: places of the held-out contexts' texts.
    """

    requests: list[Request]
    shared: Ints
    own: Mapping[tuple[str, str], Ints]
    held_out: list[int]


def plan_texts(
    groups: Mapping[str, Columns],
    samples: Mapping[str, Sample],
    *,
    contexts: int,
    held_out: int,
    n_train: int,
    n_report: int,
    kinds: Sequence[str] = OWN,
) -> TextPlan:
    """Choose contexts and list everything that has to be written.

    Args:
        groups: columns of the layer.
        samples: group -> entries with candidates of their own.
        contexts: shared contexts wanted.
        held_out: contexts of the panel `report` to write and rebuild, spread evenly over it.
        n_train: contexts of the training panel.
        n_report: contexts of the panel `report`.
        kinds: of own candidates that are wanted.
    """
    strongest = np.concatenate([c.row_2nK[..., :COVERED].reshape(2 * c.n, -1).numpy() for c in groups.values()])
    shared = cover(strongest, n_train, contexts)
    place = {Request(SHARED, int(row)): i for i, row in enumerate(shared)}

    def ask(request: Request) -> int:
        return place.setdefault(request, len(place))

    own: dict[tuple[str, str], Ints] = {}
    for name, sample in samples.items():
        rows = groups[name].row_2nK[(*sample.place, 0)].tolist()
        entries = list(zip(sample.neuron.tolist(), sample.sign.tolist(), rows, strict=True))
        if WITH in kinds:
            # a context that is shared anyhow is not written twice
            as_shared = [place.get(Request(SHARED, row)) for row in rows]
            own[name, WITH] = _places(
                -1 if row < 0 else ask(Request(WITH, row)) if found is None else found
                for row, found in zip(rows, as_shared, strict=True)
            )
        if WITHOUT in kinds:
            own[name, WITHOUT] = _places(
                -1 if row < 0 else ask(Request(WITHOUT, row, neuron, SIGNS[sign])) for neuron, sign, row in entries
            )
        if WRITE in kinds:  # a permuted neuron writes what the neuron writes: the text is shared by all
            own[name, WRITE] = _places(ask(Request(WRITE, -1, neuron, SIGNS[sign])) for neuron, sign, _ in entries)
    rows = (
        np.unique(np.linspace(0, n_report - 1, min(held_out, n_report)).astype(np.int64)).tolist() if held_out else []
    )
    places = [ask(Request(HELD_OUT, row)) for row in rows]
    return TextPlan(list(place), shared, own, places)


def _places(places: Iterable[int]) -> Ints:
    return np.asarray(list(places), dtype=np.int64)


def shared_candidates(columns: Columns, shared: Ints, count: int) -> Tensor:
    """Shared texts of the contexts at which each entry is strongest, best first; int64 (2, n, ≤ count)."""
    value_nC = columns.values["train"][torch.from_numpy(shared)].T
    count = min(count, value_nC.shape[1])
    return torch.stack([(sign * value_nC).topk(count, dim=-1).indices for sign in SIGNS])


def medoid_first(candidate_2nK: Tensor, reading_CD: Tensor) -> Tensor:
    """The same candidates with the one whose reading is nearest to the others' in front."""
    direction_CD = torch.nn.functional.normalize(reading_CD, dim=-1)
    likeness_CC = direction_CD @ direction_CD.T
    pairs_2nKK = likeness_CC[candidate_2nK[..., :, None], candidate_2nK[..., None, :]]
    head_2n1 = pairs_2nKK.sum(-1).argmax(-1, keepdim=True)
    front = candidate_2nK.gather(-1, head_2n1)
    rest = torch.arange(candidate_2nK.shape[-1]).expand_as(candidate_2nK)
    rest = torch.where(rest == head_2n1, -1, rest).sort(-1).values[..., 1:]
    return torch.cat([front, candidate_2nK.gather(-1, rest)], -1)


def with_own(candidate_2nK: Tensor, sample: Sample, own: Mapping[str, Ints]) -> Tensor:
    """Shared candidates and, in one further column for each of `OWN`, those of the sample; −1 where there is none.

    Args:
        candidate_2nK: shared candidates.
        sample: entries of the group with candidates of their own.
        own: kind -> text per sampled entry.
    """
    extra_2nO = torch.full((2, candidate_2nK.shape[1], len(OWN)), -1)
    for column, kind in enumerate(OWN):
        if kind in own:
            extra_2nO[(*sample.place, column)] = torch.from_numpy(own[kind])
    return torch.cat([candidate_2nK, extra_2nO], -1)


def origin_names(shared: int) -> list[str]:
    """Name of each column that `with_own` returns, given the number of shared ones."""
    return ["consensus", *["shared"] * (shared - 1), *OWN]
