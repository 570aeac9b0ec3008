"""Two evaluations of the same rows, compared row by row: what one change is worth, with a paired interval.

For what joint training itself adds, `a` is the run with it and `b` the same updates with the verbalizer frozen.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import polars as pl
import torch

from nlae.errors import NlaeError
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.reconstruction import fve

logger = logging.getLogger(__name__)
FILE = "rows.parquet"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """FVE of `a` minus FVE of `b` on the same rows.

    Attributes:
        delta: the difference.
        low: lower end of its interval; None with too few source works.
        high: upper end.
        a: FVE of `a` on these rows.
        b: FVE of `b`.
        rows: rows both have measured.
        clusters: their source works.
    """

    delta: float
    low: float | None
    high: float | None
    a: float
    b: float
    rows: int
    clusters: int

    def metrics(self, name: str) -> dict[str, float]:
        """Flat numbers: `name`, `name_low`, `name_high`; the interval only where there is one."""
        out = {name: self.delta, f"{name}_rows": float(self.rows)}
        if self.low is not None and self.high is not None:
            out |= {f"{name}_low": self.low, f"{name}_high": self.high}
        return out


def compare(
    a: Path | str,
    b: Path | str,
    *,
    column_a: str = "error",
    column_b: str = "error",
    seed: int = 0,
    resamples: int = 2000,
    min_clusters: int = 30,
) -> Comparison:
    """Compare two evaluated folders, paired by activation.

    Args:
        a: folder of an evaluation.
        b: folder of another one of the same target, site, corpus and training mean.
        column_a: which errors of `a`: `error`, or another column such as `error_teacher`.
        column_b: which errors of `b`.
        seed: of the resamples.
        resamples: number of them.
        min_clusters: with fewer source works there is no interval.

    Raises:
        NlaeError: a folder holds no evaluation, or the two have no rows or not the same activations in common.
    """
    left, right = _load(Path(a), column_a), _load(Path(b), column_b)
    both = left.join(right, on="row", suffix="_b").sort("row").drop_nulls()
    if both.is_empty():
        raise NlaeError(f"{a} and {b} measured no row in common: evaluate both with the same corpus and max_rows")
    if not (both["spread"] - both["spread_b"]).abs().max() < 1e-6:  # type: ignore[operator]
        raise NlaeError(f"{a} and {b} measured other activations or another mean: same target, site and corpus needed")
    dropped = max(len(left), len(right)) - len(both)
    if dropped:
        logger.warning("compared %d rows; %d were measured by only one of the two", len(both), dropped)
    error_a, error_b, spread = (torch.tensor(both[name].to_list()).double() for name in ("error", "error_b", "spread"))
    bootstrap = ClusterBootstrap(both["source"].to_list(), seed, resamples, minimum=min_clusters)
    low, high = bootstrap.fve_gap(error_a, error_b, spread) or (None, None)
    figure_a, figure_b = (fve(error, spread) for error in (error_a, error_b))
    return Comparison(figure_a - figure_b, low, high, figure_a, figure_b, len(both), bootstrap.n_clusters)


def _load(folder: Path, column: str) -> pl.DataFrame:
    path = folder / FILE
    if not path.is_file():
        raise NlaeError(f"{path} is missing: {folder} is not a finished evaluation; run `nlae evaluate` for it")
    table = pl.read_parquet(path)
    if column not in table.columns:
        known = ", ".join(name for name in table.columns if name.startswith("error"))
        raise NlaeError(f"{path} has no column {column}; it has {known}")
    return table.filter(~pl.col("early")).select("row", "source", "spread", error=pl.col(column))
