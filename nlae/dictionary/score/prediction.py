"""Predictions of texts, and how well each entry's best candidate predicts it on contexts that did not choose it.

prediction(c) = ⟨R(text) − R(neutral text), h_c/‖h_c‖ − μ⟩ at the input of the neuron's MLP. Every text is scored for
every entry by one product of labels and ranks; which candidates an entry may choose among is decided elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from nlae.dictionary.score.panels import Labels, blocks
from nlae.dictionary.score.ranks import auroc, average_ranks, spearman, spearman_within
from nlae.functional.scaling import unit


def centred(inputs_MD: Tensor, mean_D: Tensor) -> Tensor:
    """Unit vectors of the MLP's input without their training mean."""
    return unit(inputs_MD) - mean_D


def predictions(reading_CD: Tensor, neutral_D: Tensor, centred_MD: Tensor) -> Tensor:
    """What every text predicts for every context, float32 (C, M)."""
    return (reading_CD - neutral_D) @ centred_MD.T


@dataclasses.dataclass(frozen=True)
class Areas:
    """AUROC of every text for every entry of one set of columns.

    Attributes:
        by_panel: role -> float32 (2, n, C); NaN where an entry has too few active contexts.
    """

    by_panel: Mapping[str, Tensor]

    def of(self, role: str, text_2n: Tensor) -> Tensor:
        """AUROC of one text per entry, float32 (2, n); NaN where the text is −1."""
        found_2n = self.by_panel[role].gather(-1, text_2n.clamp_min(0)[..., None])[..., 0]
        return torch.where(text_2n >= 0, found_2n, torch.nan)

    def best(self, role: str, candidate_2nK: Tensor) -> Tensor:
        """Place of the candidate with the highest AUROC, int64 (2, n); the first where none has a score.

        Args:
            role: panel that chooses.
            candidate_2nK: texts of each entry, −1 where it has fewer.
        """
        area_2nK = self.by_panel[role].gather(-1, candidate_2nK.clamp_min(0))
        area_2nK = torch.where((candidate_2nK >= 0) & ~area_2nK.isnan(), area_2nK, -torch.inf)
        # where nothing is known the first candidate stands: the consensus
        return area_2nK.argmax(-1)


def areas(
    rank_by_panel: Mapping[str, Tensor],
    labels: Mapping[str, Labels],
) -> Areas:
    """AUROC of every text for every entry, on each panel.

    Args:
        rank_by_panel: role -> `average_ranks` of the predictions, (C, M).
        labels: role -> where entries are active.
    """
    found = {}
    for role, rank_CM in rank_by_panel.items():
        n = labels[role].n
        out_2nC = torch.empty(2, n, len(rank_CM))
        for part in blocks(n):
            out_2nC[:, part] = auroc(rank_CM, labels[role].active(part)).view(2, -1, len(rank_CM))
        found[role] = out_2nC
    return Areas(found)


@dataclasses.dataclass(frozen=True)
class Correlations:
    """How the chosen text's prediction goes with the activation; all float32 (2, n).

    Attributes:
        quantile: AUROC of the whole active range against the rest.
        spearman: rank correlation over all contexts.
        spearman_quantile: rank correlation within the active range.
    """

    quantile: Tensor
    spearman: Tensor
    spearman_quantile: Tensor


def correlations(prediction_CM: Tensor, range_: Labels, text_2n: Tensor) -> Correlations:
    """Score the chosen texts on one panel.

    Args:
        prediction_CM: of all texts.
        range_: where entries are in the active range of the layer.
        text_2n: chosen text per entry, −1 for none.
    """
    n = range_.n
    rank_CM = average_ranks(prediction_CM)
    out = Correlations(*(torch.empty(2, n) for _ in range(3)))
    for part in blocks(n):
        values_Mb, text_2b, label = range_.value_Mn[:, part], text_2n[:, part], range_.active(part)
        width = text_2b.shape[1]
        area_2bC = auroc(rank_CM, label).view(2, width, -1)
        out.quantile[:, part] = area_2bC.gather(-1, text_2b.clamp_min(0)[..., None])[..., 0]
        rho_bC = spearman(average_ranks(values_Mb.T.contiguous()), rank_CM)
        for sign, text_b in enumerate(text_2b.clamp_min(0)):
            rho_b = rho_bC.gather(-1, text_b[:, None])[:, 0]
            out.spearman[sign, part] = rho_b if sign == 0 else -rho_b
            signed_bM = values_Mb.T if sign == 0 else -values_Mb.T
            keep_bM = label.view(2, width, -1)[sign]
            within_b = spearman_within(signed_bM, prediction_CM[text_b], keep_bM)
            out.spearman_quantile[sign, part] = within_b
    for score in (out.quantile, out.spearman, out.spearman_quantile):
        score[text_2n < 0] = torch.nan
    return out
