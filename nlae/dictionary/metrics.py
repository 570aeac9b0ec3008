"""The dictionary in flat numbers: what passes beside what nulls pass, and what the words are worth.

`null_share/*` is the rate at which a null passes over the rate at which entries do: the share of false ones among what
passes, if every entry were such a null. It has to stay within `null_share/fdr`, the rate that the rule promises; its
own error is that of a few events, so `pass_count/*` of `pass_tried/*` and the upper end `pass_rate/*_high` stand beside
it. The null `decoy` went through everything in the neurons' place and set no rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import torch
from scipy.special import betaincinv

from nlae.dictionary.entries import Dictionary
from nlae.dictionary.summary import pooled
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.randomness import derive_seed

# rates at which nulls pass, and what a layer's rate is a rate of
NULLS = {"decoy": "null", "shuffled": "entries", "rotated": "rotated"}


def metrics(dictionary: Dictionary, seed: int) -> dict[str, float]:
    """The dictionary in flat numbers; medians are over scored entries, the interval is over neurons (30 at least)."""
    table, lines = dictionary.overview, dictionary.layers
    scored = table.filter(pl.col("prediction_decide").is_not_null())
    sampled = scored.filter(pl.col("verbalized").is_not_null() & pl.col("context_only").is_not_null())
    nulls = {name: pooled(lines, f"pass_rate_{name}", weight) for name, weight in NULLS.items()}
    found: dict[str, float | None] = {
        "entries": float(len(table)),
        "scored": float(len(scored)),
        "passing": float(table["passes"].sum()),
        "pass_rate": _mean(table, "passes"),
        "specialised": _mean(table, "specialised"),
        "specialised/decoy": pooled(lines, "specialised_decoy"),
        **{f"pass_rate/{name}": rate for name, rate in nulls.items()},
        **_null_shares(table, nulls, dictionary.facts),
        **_null_counts(lines),
        **{
            name: _median(scored, name)
            for name in ("prediction", "prediction_quantile", "spearman", "share_of_skyline")
        },
        **{f"prediction/{name}": _median(scored, name) for name in ("skyline", "last_token", "token_list", "shuffled")},
        "prediction/decoy": _median(scored, "prediction_null"),
        "sample/entries": float(table["sampled"].sum()),
        "sample/verbalized": _median(sampled, "verbalized"),
        "sample/context_only": _median(sampled, "context_only"),
        **{name: _median(table, name) for name in ("r2", "r2_ceiling")},
    }
    if len(sampled):
        gain = torch.from_numpy((sampled["verbalized"] - sampled["context_only"]).to_numpy().copy()).double()
        found["sample/gain"] = float(gain.mean())
        # both signs of a neuron are one draw
        neurons = sampled.select("layer", "neuron").rows()
        if interval := ClusterBootstrap(neurons, derive_seed(seed, "gain"), 1000).mean(gain):
            found["sample/gain_low"], found["sample/gain_high"] = interval
    return {name: float(value) for name, value in found.items() if value is not None}


def _null_shares(
    table: pl.DataFrame, nulls: Mapping[str, float | None], facts: Mapping[str, Any]
) -> dict[str, float | None]:
    """How a null's rate compares with the entries' own; left out where nothing passes."""
    rate = _mean(table, "passes")
    if not rate:
        return {}
    found = {f"null_share/{name}": nulls[name] for name in ("decoy", "shuffled")}
    shares = {name: None if value is None else value / rate for name, value in found.items()}
    return {**shares, "null_share/fdr": facts.get("fdr")}


def _null_counts(lines: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """How many of a null were tried and passed, and how high its rate may be at most."""
    found: dict[str, float | None] = {}
    for name, weight in NULLS.items():
        rows = [(row[f"pass_rate_{name}"], row[weight]) for row in lines if row.get(f"pass_rate_{name}") is not None]
        tried = sum(int(count) for _, count in rows)
        if tried:
            passed = sum(round(rate * count) for rate, count in rows)
            found[f"pass_count/{name}"], found[f"pass_tried/{name}"] = float(passed), float(tried)
            found[f"pass_rate/{name}_high"] = upper_end(passed, tried)
    return found


def upper_end(successes: int, trials: int) -> float:
    """Upper end of the exact 95 % interval of a share, two-sided (Clopper and Pearson); rows count as independent.

    Not `functional.bootstrap.wilson`, which covers 95 % only on average: of nulls hardly any pass, often none, and
    there the upper end has to be one that is guaranteed.
    """
    return 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 0.975))


def _mean(table: pl.DataFrame, name: str) -> float | None:
    value: Any = table[name].mean()
    return None if value is None else float(value)


def _median(table: pl.DataFrame, name: str) -> float | None:
    value: Any = table[name].median()
    return None if value is None else float(value)
