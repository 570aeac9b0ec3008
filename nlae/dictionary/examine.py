"""What a judge and steering say about the sample: detection, fuzzing, output scores.

The sample was drawn before any score was known, so entries that do not pass are judged by their best candidate too;
those that pass are told apart. Everything is read in documents of the split `report`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from nlae.corpus import Corpus
from nlae.dictionary.build import KEYS, Examined
from nlae.dictionary.judge import Judge, JudgeSettings, Subject, judge_entries, read_windows
from nlae.dictionary.judge.windows import Windows, stratified_sample
from nlae.dictionary.scan.output_side import promoted
from nlae.dictionary.scan.panels import roles
from nlae.dictionary.schema import SCHEMA, SIGNS
from nlae.dictionary.settings import DictionarySettings
from nlae.dictionary.steering import output_scores
from nlae.dictionary.steering_settings import SteeringSettings
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.randomness import derive_seed
from nlae.progress import Bar
from nlae.store.arrow import write_text
from nlae.target import Target

CONTEXTS, LENGTH = 8, 32  # contexts that are steered in, and their length at most
GROUPS = ("ours", "verbalized", "context_only", "decoy")
THIRDS = ("early", "middle", "late")  # of the layers; near the last one an output score is close to a tautology
STEERED = {
    "score": "score_n",
    "decoy_score": "decoy_score_n",
    "gain": "gain_n",
    "gain_random": "random_n",
    "gain_decoy": "decoy_n",
    "halvings": "rank_n",
    "scale": "scale_n",
    "kl": "kl_n",
}  # figures of an entry, and their columns of `OutputScores`


@dataclass(frozen=True)
class _Sample:
    """The sampled entries, the documents they are read in, and the scores that they are given.

    Attributes:
        report: numbers of the documents of the split `report`.
        scores: by name, one for each entry, None until it is known.
    """

    target: Target
    corpus: Corpus
    entries: pl.DataFrame
    texts: list[dict[str, Any]]
    settings: DictionarySettings
    folder: Path

    @cached_property
    def report(self) -> list[int]:
        return np.flatnonzero(roles(self.corpus) == "report").tolist()

    @cached_property
    def scores(self) -> dict[str, list[Any]]:
        return {name: [None] * len(self.entries) for name in ("detection", "fuzzing", "output_score")}

    def draw(self, count: int) -> list[int]:
        """Places of `count` entries over all layers and frequencies."""
        layer, frequency = self.entries["layer"].to_list(), self.entries["frequency"].to_list()
        return stratified_sample(layer, frequency, count, self.settings.seed)


def examine(
    target: Target,
    corpus: Corpus,
    entries: pl.DataFrame,
    texts: list[dict[str, Any]],
    settings: DictionarySettings,
    folder: Path,
) -> Examined:
    """Judge and steer with the sample.

    Args:
        target: the model itself.
        corpus: passages.
        entries: rows of the dictionary that were sampled.
        texts: what is said about each of them, and from which activation it fires; in the same order.
        settings: of the dictionary.
        folder: gets `judge.json`, `steering.json`, and the answers of a judge that is slow or paid.
    """
    sample = _Sample(target, corpus, entries, texts, settings, folder)
    flat: dict[str, float] = {}
    if settings.judge is not None and len(entries):
        flat |= _judge(sample, settings.judge)
    if settings.steered and len(entries):
        flat |= _steer(sample)
    filled = {name: pl.Series(name, values, dtype=SCHEMA[name]) for name, values in sample.scores.items()}
    return Examined(entries.select(KEYS).with_columns(**filled), flat)


def _judge(sample: _Sample, judge: Judge) -> dict[str, float]:
    corpus, entries, texts, settings = sample.corpus, sample.entries, sample.texts, sample.settings
    chosen = sample.draw(settings.judged)
    wanted: dict[int, list[int]] = {}
    for place in chosen:
        wanted.setdefault(texts[place]["layer"], []).append(texts[place]["neuron"])
    windows = read_windows(
        sample.target,
        [corpus.input_ids(document) for document in sample.report],
        [corpus.source[document] for document in sample.report],
        wanted,
        seed=settings.seed,
    )
    rows = {place: (texts[place], entries.row(place, named=True)) for place in chosen}
    subjects = [subject for text, row in rows.values() for subject in _subjects(text, row, windows)]
    judging = replace(settings.judging or JudgeSettings(), seed=settings.seed)
    with Bar("questions answered", None) as bar:
        said = judge_entries(judge, subjects, windows, judging, cache=sample.folder / "answers", progress=bar.advance)
    for place, (text, _) in rows.items():
        for task in ("detection", "fuzzing"):
            sample.scores[task][place] = said.score(task, "ours", _name(text))
    notes = {
        "judge": said.judge,
        "refused": said.refused,
        "skipped": said.skipped,
        "windows": len(windows),
        "works": len(set(windows.source)),
        "control": {f"{task}: {key}": value for (task, key), value in sorted(said.detectors.items())},
    }
    write_text(sample.folder / "judge.json", json.dumps(notes, indent=1, ensure_ascii=False))
    return said.metrics()


def _name(text: dict[str, Any]) -> str:
    return f"{text['layer']}.{text['neuron']}{text['sign']}"


def _subjects(text: dict[str, Any], row: dict[str, Any], windows: Windows) -> list[Subject]:
    """One entry under all its rival descriptions; an empty one is not judged."""
    sign = 1 if text["sign"] == SIGNS[0] else -1
    activation_WT = windows.of(text["layer"], text["neuron"], sign)
    tokens = ", ".join(f'"{token.strip()}"' for token in row["tokens"] if token.strip())
    said = {**{group: text[group] for group in GROUPS}, "token_list": f"The tokens {tokens}" if tokens else ""}
    shared = {
        "threshold": text["threshold"],
        "layer": text["layer"],
        "passes": row["passes"],
        "neuron": f"{text['layer']}.{text['neuron']}",
    }
    return [
        Subject(_name(text), group, description, activation_WT, **shared)
        for group, description in said.items()
        if description.strip()
    ]


def _steer(sample: _Sample) -> dict[str, float]:
    target, entries, settings = sample.target, sample.entries, sample.settings
    steering = replace(settings.steering or SteeringSettings(), seed=settings.seed)
    chosen = sample.draw(settings.steered)
    ids = sorted(map(sample.corpus.input_ids, sample.report), key=len, reverse=True)[:CONTEXTS]
    length = min(LENGTH, len(ids[-1]))
    context_BT = torch.tensor([row[:length] for row in ids])
    layers = entries["layer"].to_list()
    rows: list[dict[str, Any]] = []
    with Bar("directions steered with", len(chosen)) as bar:
        for layer in sorted({layers[place] for place in chosen}):
            places = [place for place in chosen if layers[place] == layer]
            neurons = [int(entries["neuron"][place]) for place in places]
            signs = [1 if entries["sign"][place] == SIGNS[0] else -1 for place in places]
            written, _ = promoted(target, layer, max(1, settings.promoted))
            tokens = torch.stack([written[0 if s > 0 else 1, 0, n] for n, s in zip(neurons, signs, strict=True)])
            found = output_scores(
                target, layer, neurons, tokens, context_BT, steering, signs=signs, progress=bar.advance
            )
            named = {name: getattr(found, name).tolist() for name in STEERED.values()}
            for number, place in enumerate(places):
                figures = {name: _finite(named[column][number]) for name, column in STEERED.items()}
                sample.scores["output_score"][place] = figures["score"]
                rows.append({**entries.select(*KEYS, "passes").row(place, named=True), **figures})
    write_text(sample.folder / "steering.json", json.dumps(rows, indent=1))
    return steering_metrics(rows, target.n_layers, settings.seed)


def steering_metrics(rows: list[dict[str, Any]], n_layers: int, seed: int) -> dict[str, float]:
    """Output scores beside their nulls, of all that reached the divergence, of those that pass, and by depth.

    `output_score` is a median and `output_score/mean` a mean with its interval over neurons; `/decoy` is the same
    steering as seen by another neuron's promoted tokens; `/gain`, `/gain_random`, `/gain_decoy` are median nats.

    Args:
        rows: an entry each, with the figures of `STEERED`, None where it did not reach the divergence or, of
            `decoy_score` and `gain_decoy`, where its layer has no other neuron.
        n_layers: of the target, for its thirds.
        seed: of the bootstrap.
    """
    reached = [row for row in rows if row["score"] is not None]
    if not reached:
        return {}
    third = [min(2, 3 * row["layer"] // n_layers) for row in reached]
    parts = {
        "": reached,
        "/passing": [row for row in reached if row["passes"]],
        **{f"/{name}": [row for row, t in zip(reached, third, strict=True) if t == i] for i, name in enumerate(THIRDS)},
    }
    flat = {"output_score/entries": float(len(reached)), "output_score/unreached": float(len(rows) - len(reached))}
    for name, part in parts.items():
        if part:
            flat |= _medians(part, {"score": f"output_score{name}", "decoy_score": f"output_score{name}/decoy"})
            flat[f"output_score{name}/entries"] = float(len(part))
    flat |= _medians(reached, {name: f"output_score/{name}" for name in ("gain", "gain_random", "gain_decoy")})
    bootstrap = ClusterBootstrap([(row["layer"], row["neuron"]) for row in reached], derive_seed(seed, "steering"))
    for name, column in (("mean", "score"), ("decoy_mean", "decoy_score")):
        found = [math.nan if row[column] is None else row[column] for row in reached]
        values = torch.tensor(found, dtype=torch.float64)
        known = ~values.isnan()
        if known.any():
            flat[f"output_score/{name}"] = float(values[known].mean())
        if interval := bootstrap.mean(values, known):
            flat[f"output_score/{name}_low"], flat[f"output_score/{name}_high"] = interval
    return flat


def _medians(rows: list[dict[str, Any]], names: Mapping[str, str]) -> dict[str, float]:
    """Medians of figures under their names, each of the entries that have it; left out where none has."""
    known = {name: [row[column] for row in rows if row[column] is not None] for column, name in names.items()}
    return {name: float(np.median(values)) for name, values in known.items() if values}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
