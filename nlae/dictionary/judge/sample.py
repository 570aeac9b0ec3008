"""What a judge and steering say about a sample of entries: detection, fuzzing, output scores.

The sample is drawn before any score is looked at, so entries that do not pass are examined too; those that pass are
told apart in the numbers. Shape suffixes: E entries, W windows, T tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.judge.judging import DETECTION, FUZZING, Judging
from nlae.dictionary.judge.run import summary
from nlae.dictionary.judge.steering import Steering
from nlae.dictionary.judge.trials import Subject, Windows
from nlae.files.arrow import write_text
from nlae.functional.randomness import derive_seed, generator
from nlae.target import Target
from nlae.terminal.progress import Bar

OWN, MISMATCHED, TOKEN_LIST = "own", "mismatched", "token_list"
CONTEXTS = 8  # windows that are steered in


@dataclass(frozen=True)
class Sample:
    """Sampled entries, one place of every attribute each.

    Attributes:
        layer, neuron, sign: which they are; the sign is `+` or `-`.
        description: own words; "" where there are none.
        mismatched: another entry's words.
        tokens: that it fires on, as text.
        passes: whether it passes.
        threshold: what counts as firing, of sign · activation.
        promoted: ids of tokens that it promotes, of all entries as many; or none where they are not known.
        activation_EWT: sign · activation in each window.
    """

    layer: Sequence[int]
    neuron: Sequence[int]
    sign: Sequence[str]
    description: Sequence[str]
    mismatched: Sequence[str]
    tokens: Sequence[Sequence[str]]
    passes: Sequence[bool]
    threshold: Sequence[float]
    promoted: Sequence[Sequence[int]]
    activation_EWT: Tensor

    def subjects(self, place: int) -> list[Subject]:
        """One entry under its rival descriptions; an empty one is not judged."""
        tokens = ", ".join(f'"{token.strip()}"' for token in self.tokens[place] if token.strip())
        said = {
            OWN: self.description[place],
            MISMATCHED: self.mismatched[place],
            TOKEN_LIST: f"The tokens {tokens}" if tokens else "",
        }
        activation_WT, threshold, passes = self.activation_EWT[place], self.threshold[place], self.passes[place]
        return [
            Subject(self.key(place), group, text, activation_WT, threshold, passes)
            for group, text in said.items()
            if text.strip()
        ]

    def key(self, place: int) -> str:
        """Name of an entry."""
        return f"{self.layer[place]}.{self.neuron[place]}{self.sign[place]}"


def examine(
    target: Target, sample: Sample, windows: Windows, asked: DictionaryBuilder, folder: Path
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Judge all of the sample, and steer with `asked.steered` of it, drawn at random.

    Args:
        target: the model itself.
        sample: what is examined.
        windows: of works that chose nothing.
        asked: whom and how much.
        folder: gets `judge.json`, and the answers of a judge that is slow or paid.

    Returns:
        Scores of each entry, null where there are none, under its layer, neuron and sign; and metrics.
    """
    keys, metrics = [sample.key(place) for place in range(len(sample.layer))], dict[str, float]()
    columns: dict[str, list[float | None]] = {name: [None] * len(keys) for name in (DETECTION, FUZZING, "output_score")}
    if asked.judge is not None and keys:
        judging = replace(asked.judging or Judging(), seed=asked.seed)
        subjects = [subject for place in range(len(keys)) for subject in sample.subjects(place)]
        cache = folder / "answers.jsonl"
        with Bar("questions answered", None) as bar:
            said = judging.ask(asked.judge, subjects, windows, cache=cache, progress=bar.advance)
        for task in (DETECTION, FUZZING):
            columns[task] = [said.entries.get((task, OWN), {}).get(key) for key in keys]
        write_text(folder / "judge.json", json.dumps(said.notes(windows), indent=1, ensure_ascii=False))
        metrics |= said.metrics()
    if asked.steered and keys:
        for name, score_E in _steer(target, sample, windows, asked).items():
            scores = {key: value for key, value in zip(keys, score_E.tolist(), strict=True) if math.isfinite(value)}
            columns |= {"output_score": [scores.get(key) for key in keys]} if name == "output_score" else {}
            metrics |= summary(name, scores, asked.seed)
    names = {"layer": pl.Int32(), "neuron": pl.Int32(), "sign": pl.String()}
    data = {name: list(getattr(sample, name)) for name in names} | columns
    return pl.DataFrame(data, schema=names | dict.fromkeys(columns, pl.Float32())), metrics


def stratified_sample(layer: Sequence[int], frequency: Sequence[float], count: int, seed: int) -> list[int]:
    """Rows of a random sample spread evenly over layers, and within each over quarters of its frequencies.

    No score is looked at: a sample chosen by any score would measure the choice.
    """
    by_layer: dict[int, list[int]] = {}
    for row, number in enumerate(layer):
        by_layer.setdefault(int(number), []).append(row)
    ranked: list[tuple[int, int, int]] = []
    for number, rows in sorted(by_layer.items()):
        rows.sort(key=lambda row: (frequency[row], row))
        size = -(-len(rows) // 4)
        for quarter, start in enumerate(range(0, len(rows), size)):
            part = rows[start : start + size]
            order = torch.randperm(len(part), generator=generator(seed, "sample", number, quarter)).tolist()
            # of the last round, a random few of the strata
            stratum = derive_seed(seed, "stratum", number, quarter)
            ranked += [(depth, stratum, part[place]) for depth, place in enumerate(order)]
    return sorted(row for _, _, row in sorted(ranked)[:count])


def _steer(target: Target, sample: Sample, windows: Windows, asked: DictionaryBuilder) -> dict[str, Tensor]:
    """Output scores of a random part of the sample, and their null, float32 (E,) each; NaN where there are none."""
    steering = replace(asked.steering or Steering(), seed=asked.seed)
    total = len(windows.ids_WT)
    context_BT = windows.ids_WT[torch.linspace(0, total - 1, min(CONTEXTS, total)).long()]
    chosen = torch.randperm(len(sample.layer), generator=generator(asked.seed, "steered"))[: asked.steered]
    found_E2 = torch.full((len(sample.layer), 2), torch.nan)
    with Bar("directions steered with", len(chosen)) as bar:
        for layer in sorted({sample.layer[place] for place in chosen.tolist()}):
            places = [p for p in sorted(chosen.tolist()) if sample.layer[p] == layer and len(sample.promoted[p])]
            neurons, signs = [sample.neuron[p] for p in places], [1 if sample.sign[p] == "+" else -1 for p in places]
            tokens_nK = torch.tensor([list(sample.promoted[p]) for p in places])
            if places:
                scores = steering.output_scores(target, layer, neurons, signs, tokens_nK, context_BT, bar.advance)
                found_E2[places] = torch.stack(scores, 1)
    return {"output_score": found_E2[:, 0], "output_score/null": found_E2[:, 1]}
