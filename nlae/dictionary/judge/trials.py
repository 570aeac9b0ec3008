"""Which windows a judge is shown for an entry.

Active ones are drawn evenly over shares of their strongest activation, since the top alone flatters a description;
inactive ones at random from the rest. Shape suffixes: W windows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nlae.functional.randomness import generator


@dataclass(frozen=True)
class Windows:
    """Windows of equal length from works that chose nothing.

    Attributes:
        ids_WT: token ids, int64.
        tokens: the same as text, one string each.
        source: source work of each window.
    """

    ids_WT: Tensor
    tokens: Sequence[Sequence[str]]
    source: Sequence[str]


@dataclass(frozen=True)
class Subject:
    """Words to be judged, with the truth about them.

    Attributes:
        key: name of the entry, e.g. `12.345+`; the same key in several groups is shown the same windows.
        group: whose words they are: `own`, `mismatched`, `token_list`, …
        description: what the judge is told.
        activation_WT: sign · activation in each window.
        threshold: what counts as firing; from works that are not judged here.
        passes: whether the entry passed.
    """

    key: str
    group: str
    description: str
    activation_WT: Tensor
    threshold: float
    passes: bool = False


class Trial(NamedTuple):
    """A window, whether the entry fires in it, and what to mark: the tokens that fire, or as many at random."""

    window: int
    active: bool
    marked: tuple[int, ...]


def draw_trials(subject: Subject, *, quantiles: int, per_quantile: int, inactive: int, seed: int) -> list[Trial] | None:
    """Windows to show for one subject; None if it fires or rests in too few.

    Args:
        subject: see `Subject`.
        quantiles: equal shares of its active windows, by their strongest activation.
        per_quantile: windows from each.
        inactive: windows in which it does not fire.
        seed: of the draw.
    """
    peak_W = subject.activation_WT.amax(-1)
    source = generator(seed, "trials", subject.key)
    # a random order first, so that ties (planted detectors) are split at random
    order_W = torch.randperm(len(peak_W), generator=source)
    fires_W = peak_W[order_W] > subject.threshold
    active, resting = order_W[fires_W], order_W[~fires_W]
    if len(active) < quantiles * per_quantile or len(resting) < inactive:
        return None
    trials = []
    for share in active[peak_W[active].argsort(descending=True, stable=True)].tensor_split(quantiles):
        for window in share[torch.randperm(len(share), generator=source)[:per_quantile]].tolist():
            fires_T = subject.activation_WT[window] > subject.threshold
            trials.append(Trial(window, True, tuple(torch.nonzero(fires_T).squeeze(1).tolist())))
    for number, window in enumerate(resting[:inactive].tolist()):
        count = len(trials[number % (quantiles * per_quantile)].marked)
        at_random = torch.randperm(subject.activation_WT.shape[1], generator=source)[:count]
        trials.append(Trial(window, False, tuple(at_random.sort().values.tolist())))
    return trials
