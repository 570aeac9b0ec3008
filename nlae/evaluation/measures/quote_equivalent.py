"""Where the explanations stand on the quote frontier: how many quoted tokens are worth as much.

A place on a scale of bits that both readers share, and no more: words may be worth sixteen quoted tokens and be false.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.evaluation.record import EvaluationRecord
from nlae.functional.bootstrap import Interval

Floats = npt.NDArray[np.float64]


def equivalent(own: Tensor, mean: Tensor, quoted: dict[int, Tensor]) -> Floats:
    """Quoted tokens n at which a reader of quotes reaches `own`; one number for each resample.

    Linear in log(1 + n) between the points, of which n = 0 is the mean; 0 below it, the longest quote above all. A
    quote that is read no better than a shorter one counts as that one.

    Args:
        own: FVE [R] of the explanations.
        mean: FVE [R] of the mean.
        quoted: FVE [R] by number of tokens.
    """
    at = np.log1p([0, *sorted(quoted)])
    points_RP = torch.stack([mean, *(quoted[n] for n in sorted(quoted))], dim=1).cummax(dim=1).values.numpy()
    places = []
    for value, points_P in zip(own.numpy(), points_RP, strict=True):
        level, first = np.unique(points_P, return_index=True)  # of quotes that are worth the same the shortest
        places.append(np.interp(value, level, at[first]))
    return np.expm1(np.array(places))


class QuoteEquivalent:
    """`copy/quote_equivalent`: tokens of a quote, read by the frontier's trained reader, that reach the same FVE.

    On the frontier's rows. `copy/quote_equivalent_null` is that of the texts written without the activation, where
    `no_injection` was measured.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        found = {name: re.fullmatch(r"quote_(\d+)", name) for name in record.errors}
        quoted = {int(match[1]): record.errors[name] for name, match in found.items() if match}
        if not quoted:
            record.board.note("no copy/quote_equivalent: no quotes were read (evaluation.measures.frontier)")
            return
        keep_N = torch.stack(list(quoted.values())).isfinite().all(dim=0)
        self._put(record, "copy/quote_equivalent", record.error_N, quoted, keep_N)
        if "no_injection" in record.errors:
            self._put(record, "copy/quote_equivalent_null", record.errors["no_injection"], quoted, keep_N)

    def _put(
        self, record: EvaluationRecord, name: str, own_N: Tensor, quoted: dict[int, Tensor], keep_N: Tensor
    ) -> None:
        board = record.board
        mean_N = board.error(record.constant_D.expand(len(keep_N), -1))
        errors = {"own": own_N, "mean": mean_N, **{str(n): error_N for n, error_N in quoted.items()}}
        whole = {key: torch.tensor([board.figure(error_N, keep_N)]) for key, error_N in errors.items()}
        drawn = {key: board.bootstrap.resampled(error_N, board.spread_N, keep_N) for key, error_N in errors.items()}
        value, value_R = (
            equivalent(one["own"], one["mean"], {n: one[str(n)] for n in quoted}) for one in (whole, drawn)
        )
        interval: Interval | None = board.bootstrap.interval(torch.from_numpy(value_R), keep_N)
        board.put(name, float(value[0]), interval)
