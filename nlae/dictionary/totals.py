"""Shares and medians of finished entries: a block's row of `layers.json`, the totals, and what the screen says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import polars as pl

from nlae.dictionary.metrics import Reported, figures
from nlae.dictionary.schema import LABELS, SPLITS

log = logging.getLogger(__name__)
MEDIANS = (
    "skyline", "last_token", "token_list", "lens", "nearest", "permuted", "mismatched", "spearman", "r2", "r2_linear",
    "kurtosis", "frequency",
)  # fmt: skip


def totals(table: pl.DataFrame, bar: float) -> dict[str, float]:
    """Numbers of all entries, whatever their split."""
    found: dict[str, Any] = {
        "entries": len(table),
        "scored": table["auroc"].is_not_null().sum(),
        "passing": table["passes"].sum(),
        "passing_share": table["passes"].mean(),
        "bar": None if bar == float("inf") else bar,
        "token_share": (table["label"] == LABELS[0]).mean(),
        "context_share": (table["label"] == LABELS[1]).mean(),
        "specialised": table["specialised"].mean(),
        **{f"grade/{grade}": (table["grade"] == grade).mean() for grade in ("fair", "good", "strong")},
        **{name: table[name].median() for name in ("spearman", "r2", "r2_linear")},
        **{f"trained/{name}": value for name, value in _by_split(table).items()},
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _by_split(table: pl.DataFrame) -> dict[str, float | None]:
    """The same shares of neurons that the reader was fitted on: what fitting alone gives."""
    trained = table.filter(pl.col("split") == SPLITS[0])
    return {"pass_share": _mean(trained, pl.col("passes")), "median_auroc": _median(trained, "auroc")}


def block_row(
    entries: pl.DataFrame, made: Mapping[str, Any], reported: Reported, bar: float, reader: str
) -> dict[str, Any]:
    """A block's row of `layers.json`: shares of all of its entries, intervals and nulls of neurons B."""
    found = figures(reported, bar, reader)
    named = {"pass_share": "b_pass_share", "rotated_share": "rotated_share", "false_share": "false_share"}
    row: dict[str, Any] = {
        "layer": made["layer"],
        "neurons": made["neurons"],
        "entries": len(entries),
        "scored": int(entries["auroc"].is_not_null().sum()),
        "passing": int(entries["passes"].sum()),
        "pass_share": _mean(entries, pl.col("passes")),
        "token_share": _mean(entries, pl.col("label") == LABELS[0]),
        "context_share": _mean(entries, pl.col("label") == LABELS[1]),
        "specialised": _mean(entries, pl.col("specialised")),
        "specialised_rotated": made["specialised_rotated"],
        "beats_nearest": found.get(f"{reader}/beats_nearest"),
        "median_auroc": _median(entries, "auroc"),
        "rotated": found.get("rotated/median_auroc"),
        "chosen": made["chosen"],
        **{name: _median(entries, name) for name in MEDIANS},
    }
    for name, key in named.items():
        row[key] = found.get(f"{reader}/{name}")
        row |= {f"{name}_{end}": found.get(f"{reader}/{name}_{end}") for end in ("low", "high")}
    row |= {f"median_auroc_{end}": found.get(f"{reader}/median_auroc_{end}") for end in ("low", "high")}
    return row


def say(flat: Mapping[str, float], reader: str) -> None:
    """How many entries pass, beside which nulls: the last lines on the screen."""

    def within(name: str) -> str:
        if name not in flat:
            return "–"
        low, high = flat.get(f"{name}_low"), flat.get(f"{name}_high")
        inside = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
        return f"{100 * flat[name]:.1f} %{inside}"

    bar = f"{flat['bar']:.3f}" if "bar" in flat else "none"
    log.info("%s of %s entries pass (AUROC at least %s)", f"{flat['passing']:,.0f}", f"{flat['entries']:,.0f}", bar)
    log.info(
        "held-out neurons: %s pass; rotated neurons %s; mismatched words %s of passes; headline %s",
        *(within(f"{reader}/{name}") for name in ("pass_share", "rotated_share", "false_share", "headline")),
    )


def _mean(table: pl.DataFrame, of: pl.Expr) -> float | None:
    value: Any = table.select(of.cast(pl.Float64).mean()).item()
    return None if value is None else float(value)


def _median(table: pl.DataFrame, name: str) -> float | None:
    value: Any = table[name].median()
    return None if value is None else float(value)
