"""Which entries pass: all rules in one number, so that the false-discovery rate holds for exactly what is published.

`headroom` is by how much an entry clears both fixed rules, the AUROC and the distance above its last-token table. The
competition with decoys is run on it, and an entry passes where its q-value is small and its headroom not negative.
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


def decide(rules: Rules, area_E: Tensor, last_token_E: Tensor, decoy_area_E: Tensor, decoy_last_E: Tensor) -> Verdict:
    """Compare every entry of a layer with its own decoy and with the fixed rules.

    Args:
        rules: thresholds.
        area_E: AUROC of the descriptions on `decide`.
        last_token_E: of the last-token tables.
        decoy_area_E: of the decoys' descriptions.
        decoy_last_E: of the decoys' last-token tables.
    """
    own_E, decoy_E = rules.headroom(area_E, last_token_E), rules.headroom(decoy_area_E, decoy_last_E)
    q_E = q_values(own_E, decoy_E)
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


def null_passes(
    rules: Rules, bar: float, area_E: Tensor, last_token_E: Tensor, rival_area_E: Tensor, rival_last_E: Tensor
) -> Tensor:
    """Which members of a null would pass in the place of an entry of this layer, bool (E,).

    Args:
        rules: thresholds.
        bar: of the layer's verdict.
        area_E: AUROC of the null's descriptions on `decide`.
        last_token_E: of its last-token tables.
        rival_area_E: of what it has to beat, as an entry has to beat its decoy.
        rival_last_E: of that one's last-token tables.
    """
    own_E, rival_E = rules.headroom(area_E, last_token_E), rules.headroom(rival_area_E, rival_last_E)
    return (own_E >= bar) & (own_E > torch.where(rival_E.isnan(), -torch.inf, rival_E))
