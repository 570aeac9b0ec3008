"""What is said about a layer's entries: the autoencoder's texts, key words, and which entry may choose among which.

Key words of a sampled entry that only stand beside its autoencoder's texts are read with the others, but are no
candidates: an entry and its nulls choose among as many texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nlae.dictionary.columns import DECOY, NULL, NULL_DECOY, REAL, ROTATED, ROTATED_DECOY, Ints, LayerData
from nlae.dictionary.describe.candidates import (
    Sample,
    TextPlan,
    medoid_first,
    shared_candidates,
    with_own,
)
from nlae.dictionary.describe.comparison import context_texts, equal_numbers
from nlae.dictionary.describe.texts import SHARED, WITH, Request, VectorMaker, write_texts
from nlae.dictionary.direction_scan import DirectionScan, exemplars_at
from nlae.dictionary.scan.folder import Exemplars
from nlae.dictionary.score.layer import Texts
from nlae.dictionary.settings import OWN
from nlae.dictionary.speaker import INPUT, NEURONS
from nlae.functional.randomness import derive_seed

if TYPE_CHECKING:
    from nlae.dictionary.job import Job

AS_IT_IS = (SHARED, WITH)  # what is asked of a context of the training panel, with nothing done to it


def samples_by_group(data: LayerData, sample: Sample) -> dict[str, Sample]:
    """By group, the entries with candidates of their own: the sample, its decoys, and its part of the null group."""
    among = sample.among(data.drawn)
    found = {REAL: sample, DECOY: sample, NULL: among, NULL_DECOY: among}
    return {name: found[name] for name in data.groups if name in found}


def exemplars_by_group(job: Job, data: LayerData) -> dict[str, Exemplars]:
    """Exemplars by group: of the whole training split, but of the null group in its panel, as it is made there."""
    found = {name: job.scan.exemplars(data.layer, decoy=name == DECOY) for name in (REAL, DECOY)}
    for name in (NULL, NULL_DECOY):
        if name in data.groups:
            columns, panel = data.groups[name], data.panels["train"]
            found[name] = exemplars_at(columns.row_2nK, columns.values["train"], panel)
    return found


def written(job: Job, data: LayerData, plan: TextPlan) -> list[str]:
    """What the autoencoder says of every request of the plan, in order; what is in the layer's file stays."""
    layer, seed = data.layer, job.settings.seed
    given = vectors(job, data)
    unit = job.scan.unit_nd if isinstance(job.scan, DirectionScan) else None
    of_neurons = VectorMaker.of(given["train"], given["report"], unit)

    def at_input(request: Request) -> bool:
        return job.settings.contexts_at == INPUT and request.kind in AS_IT_IS

    def vector(request: Request) -> Tensor:
        return data.inputs["train"][request.context] if at_input(request) else of_neurons(request)

    def verbalize(places: list[int]) -> list[str]:
        said: dict[int, str] = {}
        for site in (NEURONS, INPUT):
            chosen = [place for place in places if at_input(plan.requests[place]) == (site == INPUT)]
            if chosen:
                stack = torch.stack([vector(plan.requests[place]) for place in chosen])
                seeds = [derive_seed(seed, "dictionary", layer, place) for place in chosen]
                said |= dict(zip(chosen, job.speaker.write(layer, stack, seeds, site), strict=True))
        return [said[place] for place in places]

    path = job.folder / f"layer-{layer:03d}.jsonl"
    return write_texts(path, plan.requests, verbalize, batch_size=job.settings.batch_size, progress=job.progress)


def vectors(job: Job, data: LayerData) -> Mapping[str, Tensor]:
    """What is put into words: the neurons together, or where directions are described, their site."""
    return data.inputs if isinstance(job.scan, DirectionScan) else data.real.values


def texts(
    job: Job,
    data: LayerData,
    samples: Mapping[str, Sample],
    plan: TextPlan,
    written: list[str],
    exemplars: Mapping[str, Exemplars],
) -> tuple[Texts, list[str]]:
    """What the layer's texts say, who may choose among them, and the texts themselves."""
    words = list(written)
    own: dict[str, dict[str, Ints]] = {name: {} for name in data.groups}
    for (name, kind), places in plan.own.items():
        own[name][kind] = places
    beside: list[list[int]] = [[] for _ in samples[REAL].neuron]
    for name, sample in samples.items() if "context" in job.settings.own else ():
        first = []
        for i, place in enumerate(zip(*sample.place, strict=True)):
            said = _key_words(job, exemplars[name], *place, job.settings.candidates if name == REAL else 1)
            at = list(range(len(words), len(words) + len(said)))
            first.append(at[0] if at else -1)
            if name == REAL:
                beside[i] = at
            words += said
        own[name]["context"] = np.asarray(first, dtype=np.int64)
    neutral = job.settings.neutral
    different = list(dict.fromkeys(words if neutral is None else [neutral, *words]))
    known = {text: i for i, text in enumerate(different)}
    reading = job.speaker.read(data.layer, different)
    reading_CD = reading[[known[text] for text in words]]
    neutral_D = reading_CD[: len(plan.shared)].mean(0) if neutral is None else reading[known[neutral]]
    candidates = {}
    for name, group in data.groups.items():
        shared_2nK = shared_candidates(group, plan.shared, job.settings.candidates)
        shared_2nK = medoid_first(shared_2nK, reading_CD - neutral_D)
        candidates[name] = with_own(shared_2nK, samples.get(name, Sample.none()), own[name])
        if not job.scan.signed and name not in (ROTATED, ROTATED_DECOY):
            candidates[name][1] = -1  # what is never negative lends its texts to nobody
        count = shared_2nK.shape[-1]
    # its own texts first: they were written for the entry
    columns = [count + i for i, kind in enumerate(OWN) if kind != "context"] + list(range(count))
    compared = equal_numbers(candidates[REAL][..., columns], samples[REAL], beside, words, job.settings.candidates)
    return Texts(reading_CD, neutral_D, candidates, compared), words


def _key_words(job: Job, exemplars: Exemplars, sign: Tensor, column: Tensor, count: int) -> list[str]:
    documents, positions = exemplars.document[sign, column].tolist(), exemplars.position[sign, column].tolist()
    windows = [
        job.corpus.window(document, position, job.settings.window)
        for document, position in zip(documents, positions, strict=True)
        if document >= 0
    ]
    return context_texts(windows, job.corpus.frequencies, job.settings.word_limit, count)
