"""A made-up dictionary of any size, for tests and benchmarks of whatever reads one. Its numbers mean nothing.

Everything in it is a function of the seed, and no model is involved; it says so in its facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nlae.dictionary.entries import Context, Dictionary, write_dictionary
from nlae.dictionary.schema import BINS, NO_DESCRIPTION, SCHEMA

_NOUNS = [
    "river",
    "harvest",
    "treaty",
    "engine",
    "orchestra",
    "goalkeeper",
    "parliament",
    "enzyme",
    "glacier",
    "lantern",
    "verdict",
    "keyboard",
]
_WORDS = [
    "numbers",
    "dates",
    "names",
    "verbs",
    "places",
    "colours",
    "quotes",
    "plurals",
    "titles",
    "units",
    "months",
    "endings",
]
_EXEMPLARS = 16


def make_up_dictionary(
    folder: Path, *, layers: int = 3, neurons: int = 8, documents: int = 40, phrases: int = 1, seed: int = 0
) -> Dictionary:
    """Write a made-up dictionary and open it.

    Args:
        folder: gets the files.
        layers: number of layers; 16 × 15,625 neurons make half a million entries.
        neurons: per layer; each has both signs.
        documents: passages that exemplars refer to.
        phrases: length of a description.
        seed: of everything.
    """
    draw = np.random.default_rng([seed, 1])
    contexts = [
        Context(i, f"work {i // 3}", [f" {_NOUNS[k]}" for k in draw.integers(len(_NOUNS), size=24)])
        for i in range(documents)
    ]
    summaries = [_summary(layer, neurons, seed) for layer in range(layers)]
    parts = _parts(layers, neurons, documents, phrases, seed)
    edges = np.linspace(-8, 8, BINS + 1).tolist()
    facts = {"target": "made up", "made_up": True, "width": neurons, "n_layers": layers, "histogram_edges": edges}
    write_dictionary(folder, parts, contexts=contexts, layers=summaries, facts=facts)
    return Dictionary.open(folder)


def _parts(layers: int, neurons: int, documents: int, phrases: int, seed: int) -> Iterator[pl.DataFrame]:
    for layer in range(layers):
        yield _part(layer, neurons, documents, phrases, np.random.default_rng([seed, 2, layer]))


def _part(layer: int, neurons: int, documents: int, phrases: int, draw: np.random.Generator) -> pl.DataFrame:
    n = 2 * neurons
    drawn = draw.integers(12, size=(n, phrases, 2))
    candidate = ["; ".join(f"{_WORDS[a]} about the {_NOUNS[b]}" for a, b in row) for row in drawn]
    passes = draw.random(n) < 0.4
    scored = draw.random(n) < 0.9
    sampled = draw.random(n) < 0.2
    prediction = np.where(passes, 0.7 + 0.3 * draw.random(n), 0.4 + 0.4 * draw.random(n))
    score = _nullable(scored | passes)
    clusters = draw.integers(0, 6, size=n)
    columns: dict[str, Any] = {
        "layer": [layer] * n,
        "neuron": np.repeat(np.arange(neurons), 2),
        "sign": ["+", "-"] * neurons,
        "description": [text if ok else NO_DESCRIPTION for text, ok in zip(candidate, passes, strict=True)],
        "candidate": candidate,
        "origin": draw.choice(["shared", "consensus", "write", "context"], n).tolist(),
        "passes": passes,
        "reason": np.where(passes, "", np.where(scored, "prediction", "few contexts")),
        "fdr": score(np.where(passes, 0.05, 0.1 + 0.9 * draw.random(n))),
        "prediction": score(prediction),
        "skyline": score(np.minimum(1.0, prediction + 0.1 * draw.random(n))),
        "frequency": draw.random(n) ** 4,
        "kurtosis": draw.exponential(20, n),
        "mean": draw.normal(0, 0.1, n),
        "std": draw.exponential(0.5, n),
        "clusters": clusters,
        "specialised": clusters <= 1,
        "sampled": sampled,
        "tokens": [[f" {_NOUNS[k]}" for k in row] for row in draw.integers(12, size=(n, 5))],
        "promoted": [[f" {_NOUNS[k]}" for k in row] for row in draw.integers(12, size=(n, 8))],
        "suppressed": [[f" {_NOUNS[k]}" for k in row] for row in draw.integers(12, size=(n, 8))],
        "exemplar_value": -np.sort(-draw.exponential(1, (n, _EXEMPLARS)), axis=1),
        "exemplar_document": draw.integers(documents, size=(n, _EXEMPLARS)),
        "exemplar_position": draw.integers(24, size=(n, _EXEMPLARS)),
        "histogram": draw.integers(0, 200, size=(n, BINS)),
    }
    for name in ("prediction_decide", "prediction_quantile", "prediction_null", "last_token", "token_list", "shuffled"):
        columns[name] = score(0.4 + 0.3 * draw.random(n))
    for name in ("spearman", "spearman_quantile", "r2", "r2_ceiling", "share_of_skyline"):
        columns[name] = score(draw.random(n))
    for name in ("context_only", "verbalized", "detection", "fuzzing", "output_score"):
        columns[name] = _nullable(sampled)(0.4 + 0.4 * draw.random(n))
    made = {name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in columns.items()}
    return pl.DataFrame({name: pl.Series(name, made[name], dtype=kind, strict=False) for name, kind in SCHEMA.items()})


def _nullable(keep: Any) -> Any:
    def apply(values: Any) -> list[float | None]:
        return [float(value) if ok else None for value, ok in zip(values, keep, strict=True)]

    return apply


def _summary(layer: int, neurons: int, seed: int) -> dict[str, Any]:
    """A layer's row of `layers.json`, with the keys that the stage writes."""
    draw = np.random.default_rng([seed, 3, layer])
    share = float(draw.random() * 0.5)
    return {
        "layer": layer,
        "neurons": neurons,
        "entries": 2 * neurons,
        "scored": 2 * neurons,
        "sampled": neurons // 5,
        "passing": round(2 * neurons * share),
        "rotated": 64,
        "pass_rate": share,
        "pass_rate_low": max(0.0, share - 0.05),
        "pass_rate_high": share + 0.05,
        "pass_rate_decoy": 0.01,
        "null": 128,
        "pass_rate_rotated": 0.01,
        "pass_rate_shuffled": 0.02,
        "prediction": 0.5 + share / 2,
        "prediction_low": 0.48 + share / 2,
        "prediction_high": 0.52 + share / 2,
        "skyline": 0.9,
        "last_token": 0.6,
        "share_of_skyline": share,
        "specialised": float(draw.random()),
        "kurtosis": float(draw.exponential(10)),
    }
