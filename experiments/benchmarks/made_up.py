"""A made-up dictionary of any size, for tests and benchmarks of whatever reads one. Its numbers mean nothing.

Everything in it is a function of the seed, and no model is involved; it says so in its facts. Scores are drawn so that
pages look as they do for a model: words between last tokens and skyline, rotated neurons at the floor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from nlae.dictionary.entries import Context, Dictionary, write_dictionary
from nlae.dictionary.schema import GRADES, LABELS, SCHEMA, SIGNS, SPLITS, WINDOW

_FIRST = ("of, in or by", "to", "and", "was or were", "his, her or their", "dates and numbers", "names")
_NOUNS = (  # noqa: SIM905 - twenty lines otherwise
    "river harvest treaty engine orchestra parliament enzyme glacier lantern verdict keyboard government law "
    "army battle season album church island railway hurricane novel empire"
).split()
_FILLERS = ("the", "of", "and", "in", "was", "to", "a", "by", "with", ",", ".", "its")
_EXEMPLARS, _TOKENS = 16, 64
_BESIDE = {"mismatched": 0.49, "nearest": 0.58, "permuted": 0.56, "last_token": 0.66, "token_list": 0.63, "lens": 0.54}
Draw = np.random.Generator


def make_up_dictionary(
    folder: Path, *, layers: int = 3, neurons: int = 8, documents: int = 40, phrases: int = 1, seed: int = 0
) -> Dictionary:
    """Write a made-up dictionary and open it.

    Args:
        folder: gets the files.
        layers: number of blocks; 30 × 1,536 neurons make the 92,160 entries of a small model.
        neurons: per block; each has both signs.
        documents: passages that exemplars and unseen windows refer to.
        phrases: parts of a description.
        seed: of everything.
    """
    draw = np.random.default_rng([seed, 1])
    contexts = [Context(i, f"work {i // 3}", _passage(draw)) for i in range(documents)]
    parts = [_part(layer, layers, neurons, documents, phrases, seed) for layer in range(layers)]
    facts = {
        "target": "made up",
        "made_up": True,
        "width": neurons,
        "n_layers": layers,
        "layers": list(range(layers)),
        "scanned_tokens": 300_000,
        "reader": "bag",
        "bar": 0.7,
        "min_auroc": 0.7,
        "min_contexts": 20,
    }
    rows = [_row(part, np.random.default_rng([seed, 3, layer])) for layer, part in enumerate(parts)]
    write_dictionary(folder, iter(parts), contexts=contexts, layers=rows, facts=facts)
    return Dictionary.open(folder)


def _passage(draw: Draw) -> list[str]:
    words = np.where(draw.random(_TOKENS) < 0.6, draw.choice(_FILLERS, _TOKENS), draw.choice(_NOUNS, _TOKENS)).tolist()
    return [word if word in ",." else f" {word}" for word in words]


def _part(layer: int, layers: int, neurons: int, documents: int, phrases: int, seed: int) -> pl.DataFrame:
    draw, n = np.random.default_rng([seed, 2, layer]), 2 * neurons
    scored = draw.random(n) < 0.9
    auroc = np.clip(draw.normal(0.66 + 0.08 * (layer + 1) / layers, 0.1, n), 0.35, 0.99)
    passes = scored & (auroc >= GRADES["fair"])
    score = _nullable(scored)
    columns: dict[str, Any] = {
        "layer": np.full(n, layer),
        "neuron": np.repeat(np.arange(neurons), 2),
        "sign": list(SIGNS) * neurons,
        "split": np.repeat(draw.choice(SPLITS, neurons, p=[0.8, 0.1, 0.1]), 2),
        "description": _descriptions(draw, n, phrases),
        "writes": [f"{a}, {b} and {c}" for a, b, c in draw.choice(_NOUNS, (n, 3))],
        "label": np.where(passes, draw.choice(["token", "context"], n), ""),
        "grade": _grades(auroc, passes),
        "passes": passes,
        "reason": np.where(passes, "", np.where(scored, "auroc", "few contexts")),
        "reader": ["bag"] * n,
        "auroc": score(auroc),
        "auroc_bar": score(np.clip(auroc + draw.normal(0, 0.03, n), 0, 1)),
        "skyline": score(np.clip(auroc + 0.05 + 0.15 * draw.random(n), 0, 1)),
        "frequency": draw.random(n) ** 4,
        "kurtosis": draw.exponential(20, n),
        "mean": draw.normal(0, 0.1, n),
        "std": draw.exponential(0.5, n),
        "nearest_entry": [f"{layer}.{k}{draw.choice(SIGNS)}" for k in draw.integers(neurons, size=n)],
        "groups": draw.integers(1, 6, size=n),
        "specialised": draw.random(n) < 0.5,
        **{name: _words(draw, n, count) for name, count in (("tokens", 5), ("promoted", 8), ("suppressed", 8))},
        "exemplar_value": -np.sort(-draw.exponential(1, (n, _EXEMPLARS)), axis=1),
        "exemplar_document": draw.integers(documents, size=(n, _EXEMPLARS)),
        "exemplar_position": draw.integers(_TOKENS, size=(n, _EXEMPLARS)),
        **_unseen(draw, n, documents),
    }
    for name, middle in _BESIDE.items():
        columns[name] = score(np.clip(draw.normal(middle, 0.05, n), 0.2, 0.98))
    for name in ("spearman", "r2", "r2_linear", "embedding"):
        columns[name] = score(draw.random(n))
    for name in ("detection", "output_score"):
        columns[name] = _nullable(draw.random(n) < 0.2)(0.4 + 0.4 * draw.random(n))
    made = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in columns.items()}
    return pl.DataFrame({name: pl.Series(name, made[name], dtype=kind, strict=False) for name, kind in SCHEMA.items()})


def _descriptions(draw: Draw, n: int, phrases: int) -> list[str]:
    first, nouns = draw.choice(_FIRST, n), draw.choice(_NOUNS, (n, phrases, 3))
    rows = ((a, [f"after {x}, near {y} and {z}" for x, y, z in rest]) for a, rest in zip(first, nouns, strict=True))
    return [", ".join([str(a), *rest]) for a, rest in rows]


def _words(draw: Draw, n: int, count: int) -> list[list[str]]:
    return [[f" {word}" for word in row] for row in draw.choice(_NOUNS, (n, count))]


def _unseen(draw: Draw, n: int, documents: int) -> dict[str, Any]:
    levels = np.clip(draw.normal(20, 25, (n, 3, WINDOW)), 0, 90)
    peak = draw.integers(WINDOW, size=(n, 3))
    np.put_along_axis(levels, peak[..., None], draw.integers(120, 256, (n, 3, 1)), axis=2)
    return {
        "unseen_document": draw.integers(documents, size=(n, 3)),
        "unseen_start": draw.integers(_TOKENS - WINDOW + 1, size=(n, 3)),
        "unseen_peak": peak,
        "unseen_level": levels.reshape(n, -1).astype(np.uint8),
    }


def _grades(auroc: npt.NDArray[np.float64], passes: npt.NDArray[np.bool_]) -> Any:
    found = np.full(len(auroc), "", dtype="U6")
    for name, lowest in GRADES.items():
        found[passes & (auroc >= lowest)] = name
    return found


def _nullable(keep: npt.NDArray[np.bool_]) -> Any:
    def apply(values: npt.NDArray[np.float64]) -> list[float | None]:
        return [float(value) if ok else None for value, ok in zip(values, keep, strict=True)]

    return apply


def _row(part: pl.DataFrame, draw: Draw) -> dict[str, Any]:
    """A block's row of `layers.json`, with the keys that the stage writes."""
    medians = ("auroc", "skyline", *_BESIDE, "spearman", "r2", "r2_linear", "kurtosis", "frequency")
    middle = part.select(pl.col(*medians).median().fill_null(0.5).cast(pl.Float64)).row(0, named=True)
    kinds = [(pl.col("label") == label).alias(f"{label}_share") for label in LABELS]
    shares = part.select(pl.col("passes", "specialised"), *kinds).select(pl.all().mean()).row(0, named=True)
    return {
        "layer": part["layer"][0],
        "neurons": part.height // 2,
        "entries": part.height,
        "scored": part["auroc"].count(),
        "passing": int(part["passes"].sum()),
        **_within("pass_share", shares.pop("passes"), 0.03),
        "rotated_share": 0.01 + 0.01 * float(draw.random()),
        "false_share": 0.03 + 0.02 * float(draw.random()),
        **shares,
        "specialised_rotated": 0.1 + 0.1 * float(draw.random()),
        "beats_nearest": 0.8 + 0.1 * float(draw.random()),
        **_within("median_auroc", middle.pop("auroc"), 0.01),
        **middle,
        "rotated": 0.55 + 0.03 * float(draw.random()),
    }


def _within(name: str, value: float, half: float) -> dict[str, float]:
    return {name: value, f"{name}_low": max(0.0, value - half), f"{name}_high": min(1.0, value + half)}
