"""One layer from panels to entries: choose contexts, have them put into words, read the words, score, write down.

Everything a layer needs is made here and freed with it, so that memory is that of one layer. A finished layer is
a file; an unfinished one keeps its texts, and all the rest of it is computed again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from nlae.dictionary import wording
from nlae.dictionary.columns import (
    DECOY,
    REAL,
    Columns,
    LayerData,
    read_layer,
)
from nlae.dictionary.corpus_view import CorpusView
from nlae.dictionary.describe.candidates import (
    COVERED,
    Sample,
    TextPlan,
    origin_names,
    plan_texts,
)
from nlae.dictionary.direction_scan import DirectionScan
from nlae.dictionary.frame import LayerFacts, frame, histogram, summary
from nlae.dictionary.scan.folder import Exemplars, Scan
from nlae.dictionary.schema import SIGNS
from nlae.dictionary.score.clusters import cosine_threshold, count_clusters
from nlae.dictionary.score.layer import LayerScores, score_layer
from nlae.dictionary.score.panels import blocks
from nlae.dictionary.score.passing import Rules
from nlae.dictionary.score.prediction import centred
from nlae.dictionary.settings import OWN, DictionarySettings
from nlae.dictionary.speaker import Speaker
from nlae.functional.randomness import generator

Promoted = Callable[[int], tuple[Tensor, Tensor]]
MAIN_GROUP = 0.5  # an entry is specialised when its only group holds at least this share of its strongest contexts


@dataclasses.dataclass(frozen=True)
class Job:
    """What all layers share.

    Attributes:
        scan: of the target.
        corpus: passages, counts and frequencies.
        speaker: writes and reads.
        settings: of the dictionary.
        promoted: layer -> token ids (2 signs, promoted and suppressed, N, k) and weights; see `scan.output_side`.
        folder: gets one file of texts per layer.
        sample: layer -> neurons with candidates of their own.
        progress: called with the number of texts just written.
    """

    scan: Scan
    corpus: CorpusView
    speaker: Speaker
    settings: DictionarySettings
    promoted: Promoted
    folder: Path
    sample: dict[int, Sample]
    progress: Callable[[int], None] | None = None


def make_layer(job: Job, layer: int) -> tuple[pl.DataFrame, dict[str, object], list[dict[str, Any]]]:
    """Entries and summary of one layer, and the texts that its sample is to be judged by."""
    settings, sample = job.settings, job.sample[layer]
    data = read_layer(
        job.scan,
        layer,
        job.corpus.token_counts,
        count=max(settings.cluster_top, COVERED),
        quantile=settings.active_quantile,
        rotated=settings.rotated,
        seed=settings.seed,
    )
    samples = wording.samples_by_group(data, sample)
    plan = plan_texts(
        data.groups,
        samples,
        contexts=settings.contexts_per_layer,
        held_out=settings.readable_rows,
        n_train=len(data.panels["train"]),
        n_report=len(data.panels["report"]),
        kinds=settings.own,
    )
    written = wording.written(job, data, plan)
    exemplars = wording.exemplars_by_group(job, data)
    texts, words = wording.texts(job, data, samples, plan, written, exemplars)
    moments = job.scan.moments(layer)
    scores = score_layer(
        data,
        texts,
        Rules(settings.fdr, settings.min_auroc, settings.min_margin),
        min_passages=settings.min_passages,
        active_from=moments.threshold,
        exemplar_token_2nK=job.corpus.tokens_at(exemplars[REAL].document, exemplars[REAL].position),
        vocabulary=len(job.corpus.token_counts),
        generator=generator(settings.seed, "shuffled", layer),
    )
    facts = _facts(job, data, exemplars[REAL], sample, *_readable(job, data, plan, written))
    entries = frame(facts, scores, words, origin_names(texts.candidates[REAL].shape[-1] - len(OWN)))
    sampled = _to_be_judged(data, sample, scores, words)
    return entries, summary(facts, scores, entries, settings.seed), sampled


def _to_be_judged(data: LayerData, sample: Sample, scores: LayerScores, words: list[str]) -> list[dict[str, Any]]:
    """Rival texts about each sampled entry, and the activation from which it counts as firing."""
    rows = []
    for neuron, sign in zip(sample.neuron.tolist(), sample.sign.tolist(), strict=True):
        of = {
            "ours": scores.text[REAL][sign, neuron],
            "decoy": scores.text[DECOY][sign, neuron],
            **{name: scores.compared[name][sign, neuron] for name in ("verbalized", "context_only")},
        }
        said = {name: words[int(place)] if place >= 0 else "" for name, place in of.items()}
        threshold = float(data.real.threshold_2n[sign, neuron])
        rows.append({"layer": data.layer, "neuron": neuron, "sign": SIGNS[sign], "threshold": threshold, **said})
    return rows


def _readable(job: Job, data: LayerData, plan: TextPlan, written: list[str]) -> tuple[Tensor | None, Tensor | None]:
    """Per-neuron R² through the words of held-out contexts, and of the best linear map on the same contexts.

    None and None where fewer than two contexts were written.
    """
    if len(plan.held_out) < 2:
        return None, None
    from nlae.dictionary.score.readability import ceiling, raw
    from nlae.evaluation.neurons import neuron_r2

    rows = [plan.requests[place].context for place in plan.held_out]
    given, values = (
        {**panels, "report": panels["report"][rows]} for panels in (wording.vectors(job, data), data.real.values)
    )
    said = job.speaker.rebuild(data.layer, [written[place] for place in plan.held_out])
    rebuilt_RN = raw(*said, given["report"])
    if isinstance(job.scan, DirectionScan):
        rebuilt_RN = job.scan.directions.activations(rebuilt_RN)
    r2_N = neuron_r2(rebuilt_RN, values["report"], values["train"].mean(0))
    return r2_N, ceiling(lambda part_BN: job.speaker.inject(data.layer, part_BN), given, values)


def _facts(
    job: Job, data: LayerData, exemplars: Exemplars, sample: Sample, r2: Tensor | None, ceiling: Tensor | None
) -> LayerFacts:
    moments, settings, n = job.scan.moments(data.layer), job.settings, data.real.n
    std_n = moments.variance.sqrt()
    clusters, specialised = _clusters(data, data.real, settings)
    sampled = torch.zeros(2, n, dtype=torch.bool)
    sampled[torch.from_numpy(sample.sign), torch.from_numpy(sample.neuron)] = True
    ids, _ = job.promoted(data.layer)
    signs = 2 if job.scan.signed else 1
    return LayerFacts(
        layer=data.layer,
        signs=signs,
        frequency=moments.frequency,
        kurtosis=moments.kurtosis,
        mean=moments.mean,
        std=std_n,
        clusters=clusters,
        specialised=specialised,
        specialised_decoy=float(_clusters(data, data.groups[DECOY], settings)[1][:signs].float().mean()),
        sampled=sampled,
        r2=r2,
        r2_ceiling=ceiling,
        tokens=job.corpus.peaks(exemplars.document, exemplars.position, settings.promoted),
        promoted=_as_words(job, ids[:, 0]),
        suppressed=_as_words(job, ids[:, 1]),
        value=exemplars.value,
        document=exemplars.document,
        position=exemplars.position,
        histogram=histogram(data.real.values["train"], moments.mean, std_n),
    )


def _clusters(data: LayerData, columns: Columns, settings: DictionarySettings) -> tuple[Tensor, Tensor]:
    """Groups among each entry's strongest contexts, and whether there is one that holds most of them; both (2, n)."""
    unit_MD = centred(data.inputs["train"], torch.nn.functional.normalize(data.inputs["train"], dim=-1).mean(0))
    unit_MD = torch.nn.functional.normalize(unit_MD, dim=-1)
    threshold = cosine_threshold(unit_MD, settings.cluster_quantile, generator(settings.seed, "pairs", data.layer))
    count_2n = torch.empty(2, columns.n, dtype=torch.long)
    single_2n = torch.empty(2, columns.n, dtype=torch.bool)
    for part in blocks(columns.n, 256):
        row_eK = columns.row_2nK[:, part, : settings.cluster_top].flatten(0, 1)
        count_e, share_e = count_clusters(unit_MD[row_eK.clamp_min(0)], row_eK >= 0, threshold)
        count_2n[:, part] = count_e.view(2, -1)
        single_2n[:, part] = ((count_e == 1) & (share_e >= MAIN_GROUP)).view(2, -1)
    return count_2n, single_2n


def _as_words(job: Job, ids_2Nk: Tensor) -> Sequence[Sequence[list[str]]]:
    word = job.corpus.word
    return [[[word(token) for token in ids] for ids in side] for side in ids_2Nk[..., : job.settings.promoted].tolist()]
