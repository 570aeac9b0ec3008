"""From the scores of a layer to its rows of `dictionary.parquet` and its line of `layers.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from nlae.dictionary.columns import NULL, ROTATED
from nlae.dictionary.schema import BINS, NO_DESCRIPTION, REASONS, SCHEMA, SIGNS
from nlae.dictionary.score.layer import LayerScores
from nlae.functional.randomness import generator

EDGES = torch.linspace(-8, 8, BINS + 1)
AT_CHANCE = 0.55  # a share of a skyline below this would be a share of noise
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """What is known of a layer's entries besides their scores; tensors (2, n) unless said otherwise.

    Attributes:
        layer: block index.
        signs: 1 where activations are never negative, so that "+" alone has entries; else 2.
        frequency: share of tokens above the layer's threshold.
        kurtosis, mean, std: float32 (n,).
        clusters: groups among the strongest contexts; specialised: bool.
        specialised_decoy: share of decoys that would count as specialised.
        sampled: bool.
        r2, r2_ceiling: float32 (n,), or None where they were not measured.
        tokens, promoted, suppressed: words per sign and neuron.
        value, document, position: exemplars, (2, n, k).
        histogram: int64 (2, n, BINS).
    """

    layer: int
    signs: int
    frequency: Tensor
    kurtosis: Tensor
    mean: Tensor
    std: Tensor
    clusters: Tensor
    specialised: Tensor
    specialised_decoy: float
    sampled: Tensor
    r2: Tensor | None
    r2_ceiling: Tensor | None
    tokens: Sequence[Sequence[list[str]]]
    promoted: Sequence[Sequence[list[str]]]
    suppressed: Sequence[Sequence[list[str]]]
    value: Tensor
    document: Tensor
    position: Tensor
    histogram: Tensor


def histogram(value_Mn: Tensor, mean_n: Tensor, std_n: Tensor) -> Tensor:
    """Counts of sign · (a − mean) / std over `EDGES`, int64 (2, n, BINS); the outer bins take what lies beyond."""
    z_nM = ((value_Mn - mean_n) / std_n.clamp_min(1e-12)).T.contiguous()
    bin_nM = torch.bucketize(z_nM, EDGES[1:-1])
    count_nB = torch.zeros(len(z_nM), BINS, dtype=torch.long).scatter_add_(1, bin_nM, torch.ones_like(bin_nM))
    return torch.stack([count_nB, count_nB.flip(-1)])


def frame(facts: LayerFacts, scores: LayerScores, texts: Sequence[str], origins: Sequence[str]) -> pl.DataFrame:
    """The layer's entries, by neuron, then sign.

    Args:
        facts: of the layer.
        scores: of the layer.
        texts: all texts that entries choose among.
        origins: name of each column of candidates.
    """
    n = facts.mean.shape[0]
    shape = facts.clusters.shape
    chosen = _interleave(scores.text["real"]).tolist()
    passes = _interleave(scores.verdict.passes.view(shape))
    candidate = [texts[i] if i >= 0 else "" for i in chosen]
    share_2n = (scores.report - 0.5) / (scores.baselines["skyline"] - 0.5)
    share_2n[scores.baselines["skyline"] < AT_CHANCE] = torch.nan
    columns: dict[str, Any] = {
        "layer": [facts.layer] * (2 * n),
        "neuron": np.repeat(np.arange(n), 2),
        "sign": [*SIGNS] * n,
        "candidate": candidate,
        "description": [text if ok else NO_DESCRIPTION for text, ok in zip(candidate, passes.tolist(), strict=True)],
        "origin": [
            origins[c] if i >= 0 else "" for c, i in zip(_interleave(scores.column).tolist(), chosen, strict=True)
        ],
        "passes": passes.numpy(),
        "reason": ["" if r < 0 else REASONS[r] for r in _interleave(scores.verdict.reason.view(shape)).tolist()],
        "clusters": _interleave(facts.clusters).numpy(),
        "specialised": _interleave(facts.specialised).numpy(),
        "sampled": _interleave(facts.sampled).numpy(),
    }
    numbers = {
        "fdr": scores.verdict.q.view(shape),
        "prediction": scores.report,
        "prediction_decide": scores.decide,
        "prediction_null": scores.decoy,
        "prediction_quantile": scores.correlations.quantile,
        "spearman": scores.correlations.spearman,
        "spearman_quantile": scores.correlations.spearman_quantile,
        "share_of_skyline": share_2n,
        "frequency": facts.frequency,
        **scores.baselines,
        **{name: _both(getattr(facts, name), shape) for name in ("kurtosis", "mean", "std", "r2", "r2_ceiling")},
        **dict.fromkeys(("detection", "fuzzing", "output_score"), torch.full(shape, torch.nan)),
    }
    series = {name: _nullable(name, _interleave(value)) for name, value in numbers.items()}
    lists = {
        **{name: [item for both in zip(*getattr(facts, name), strict=True) for item in both] for name in _WORDS},
        "exemplar_value": _rows(facts.value, facts.document),
        "exemplar_document": _rows(facts.document, facts.document),
        "exemplar_position": _rows(facts.position, facts.document),
        "histogram": _interleave(facts.histogram).tolist(),
    }
    series |= {name: pl.Series(name, value, dtype=SCHEMA[name]) for name, value in {**columns, **lists}.items()}
    whole = pl.DataFrame([series[name] for name in SCHEMA])
    return whole.filter(pl.col("sign").is_in(SIGNS[: facts.signs]))


def summary(facts: LayerFacts, scores: LayerScores, entries: pl.DataFrame, seed: int) -> dict[str, Any]:
    """The layer's line of `layers.json`; intervals resample neurons, both signs of one together.

    Args:
        facts: of the layer.
        scores: of the layer.
        entries: the layer's frame.
        seed: of the resamples.
    """
    n, shape, signs = facts.mean.shape[0], facts.clusters.shape, facts.signs
    draw_Rn = torch.randint(n, (RESAMPLES, n), generator=generator(seed, "summary", facts.layer))
    passes_n = scores.verdict.passes.view(shape)[:signs].float().mean(0)
    low, high = _interval(passes_n[draw_Rn].mean(1))
    median_R = scores.report[:signs, draw_Rn].permute(1, 0, 2).flatten(1).nanmedian(1).values
    median_low, median_high = _interval(median_R)
    # directions have both signs even where the neurons have one
    passed = {
        name: passed if name == ROTATED else passed.view(2, -1)[:signs].flatten()
        for name, passed in scores.null_passes.items()
    }
    nulls = {name: float(found.float().mean()) for name, found in passed.items()}
    paired = entries.filter(
        pl.col("verbalized").is_not_null() & pl.col("context_only").is_not_null() & pl.col("sampled")
    )
    middle = {name: _median(entries, name) for name in _MEDIANS}
    return {
        "layer": facts.layer,
        "neurons": n,
        "entries": signs * n,
        "scored": int(entries["prediction_decide"].is_not_null().sum()),
        "sampled": int(facts.sampled.sum()),
        "passing": int(scores.verdict.passes.sum()),
        "pass_rate": float(passes_n.mean()),
        "pass_rate_low": low,
        "pass_rate_high": high,
        "pass_rate_decoy": nulls.get(NULL),
        "null": len(passed.get(NULL, ())),
        "pass_rate_shuffled": nulls["shuffled"],
        "pass_rate_rotated": nulls.get(ROTATED),
        "rotated": len(passed.get(ROTATED, ())),
        **middle,
        "prediction_low": _finite(median_low),
        "prediction_high": _finite(median_high),
        "specialised": float(facts.specialised[:signs].float().mean()),
        "specialised_decoy": facts.specialised_decoy,
        "verbalized_sample": _median(paired, "verbalized"),
        "context_only_sample": _median(paired, "context_only"),
        "reasons": {name: int((entries["reason"] == name).sum()) for name in REASONS},
        "origins": dict(sorted(entries.filter("passes")["origin"].value_counts().iter_rows())),
    }


_WORDS = ("tokens", "promoted", "suppressed")
_MEDIANS = (
    "prediction",
    "prediction_null",
    "prediction_quantile",
    "spearman",
    "skyline",
    "last_token",
    "token_list",
    "shuffled",
    "share_of_skyline",
    "kurtosis",
    "frequency",
    "r2",
    "r2_ceiling",
)


def _interleave(value: Tensor) -> Tensor:
    """(2, n, …) with "+" first to (2n, …) by neuron, then sign."""
    return value.transpose(0, 1).flatten(0, 1)


def _both(value_n: Tensor | None, shape: torch.Size) -> Tensor:
    """A neuron's number for both of its signs; NaN where it was not measured."""
    return torch.full(shape, torch.nan) if value_n is None else value_n.expand(shape)


def _nullable(name: str, value: Tensor) -> pl.Series:
    return pl.Series(name, value.float().numpy()).fill_nan(None).cast(SCHEMA[name])


def _rows(value_2nk: Tensor, document_2nk: Tensor) -> list[list[Any]]:
    """Lists without the places where an entry has fewer exemplars."""
    rows = zip(_interleave(value_2nk).tolist(), _interleave(document_2nk).tolist(), strict=True)
    return [[v for v, d in zip(values, documents, strict=True) if d >= 0] for values, documents in rows]


def _median(entries: pl.DataFrame, name: str) -> float | None:
    found: Any = entries[name].median()
    return None if found is None else float(found)


def _interval(value_R: Tensor) -> tuple[float, float]:
    low, high = torch.quantile(value_R.double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
