"""Which entries pass: one bar for all blocks, set on neurons and works that are not reported.

The bar is the lowest AUROC, 0.7 at least, from which on mismatched descriptions are at most 5 % of passes, on neurons A
and the bar's works. Left out: q-values; they would rest on an exchangeability that words do not have.
"""

import torch
from torch import Tensor

MIN_AUROC, MAX_FALSE = 0.7, 0.05


def bar(own_E: Tensor, mismatched_E: Tensor, least: float = MIN_AUROC, false: float = MAX_FALSE) -> float:
    """The lowest AUROC, `least` or above, at which mismatched passes are at most the share `false` of own ones.

    Both are of the same entries, NaN where one is not scored; infinite where no AUROC does.
    """
    own, mismatched = (value[~value.isnan()].double().sort().values for value in (own_E, mismatched_E))
    level = torch.cat([torch.tensor([least], dtype=torch.float64), own[own >= least]]).unique()
    passes = len(own) - torch.searchsorted(own, level)
    wrong = len(mismatched) - torch.searchsorted(mismatched, level)
    allowed = (passes > 0) & (wrong.double() <= false * passes)
    return float(level[allowed][0]) if bool(allowed.any()) else float("inf")
