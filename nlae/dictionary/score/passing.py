"""Which entries pass: all rules in one number, so that the false-discovery rate holds for exactly what is published.

`headroom` is by how much an entry clears both fixed rules, the AUROC and the distance above its last-token table. The
competition with decoys and strangers is run on it: an entry passes where q is small and the headroom not negative.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from nlae.dictionary.schema import REASONS
from nlae.dictionary.score.competition import cut_off, q_values


@dataclasses.dataclass(frozen=True)
class Rules:
    """What an entry must show on the panel `decide`.

    Attributes:
        fdr: q-value at most.
        min_auroc: AUROC at least.
        min_margin: distance above the last-token table at least.
    """

    fdr: float = 0.05
    min_auroc: float = 0.7
    min_margin: float = 0.05

    def headroom(self, area_E: Tensor, last_token_E: Tensor) -> Tensor:
        """By how much both fixed rules are cleared; NaN where the entry was not scored."""
        return torch.minimum(area_E - self.min_auroc, area_E - last_token_E - self.min_margin)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Entries of one layer.

    Attributes:
        q: float32 (E,); NaN where an entry was not scored.
        passes: bool (E,).
        reason: place in `schema.REASONS`, −1 where an entry passes; int64 (E,).
        bar: headroom from which on entries of this layer pass; infinite when none does.
    """

    q: Tensor
    passes: Tensor
    reason: Tensor
    bar: float


def decide(rules: Rules, area_E: Tensor, last_token_E: Tensor, rival_E: Tensor) -> Verdict:
    """Compare every entry of a layer with its rival and with the fixed rules.

    Args:
        rules: thresholds.
        area_E: AUROC of the descriptions on `decide`.
        last_token_E: of the last-token tables.
        rival_E: headroom of what each entry has to beat; see `rivals`.
    """
    own_E = rules.headroom(area_E, last_token_E)
    q_E = q_values(own_E, rival_E)
    passes_E = (q_E <= rules.fdr) & (own_E >= 0)
    bar = max(0.0, cut_off(own_E, q_E, rules.fdr))
    tests = (
        area_E.isnan(),
        area_E < rules.min_auroc,
        area_E < last_token_E + rules.min_margin,
        torch.ones_like(passes_E),
    )
    assert len(tests) == len(REASONS)
    reason_E = torch.full(passes_E.shape, -1)
    for place, applies_E in reversed(list(enumerate(tests))):
        reason_E[applies_E & ~passes_E] = place
    return Verdict(q_E, passes_E, reason_E, bar)


def rivals(decoy_E: Tensor, strangers_E: Tensor) -> Tensor:
    """Headroom that an entry has to beat: its decoy's, and that of another entry's candidates; the higher counts.

    A decoy has lost the run of a passage, so chance in a handful of passages is smaller for it than for the entry: a
    description about nothing may fit those passages. Candidates of another entry, the best of them chosen alike, have
    the entry's own contexts and so its own chance. Under either null at most half of the winners are false.
    """
    known = [torch.where(item.isnan(), -torch.inf, item) for item in (decoy_E, strangers_E)]
    return torch.maximum(*known)


def null_passes(bar: float, null_E: Tensor, rival_E: Tensor) -> Tensor:
    """Which members of a null would pass in the place of an entry of this layer, bool (E,).

    Args:
        bar: of the layer's verdict.
        null_E: headroom of the null.
        rival_E: headroom that it has to beat, as an entry has to.
    """
    return (null_E >= bar) & (null_E > torch.where(rival_E.isnan(), -torch.inf, rival_E))
