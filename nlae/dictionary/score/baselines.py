"""What needs no words or no autoencoder: skyline, last-token table, token list. Each is scored as a description is.

The skyline puts the mean of the entry's strongest contexts in place of what a description reads as: the best that this
linear way of predicting could hope for, not a bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlae.dictionary.score.panels import Labels, blocks
from nlae.dictionary.score.ranks import auroc_by_kind, auroc_own, average_ranks


def skyline(centred_train_MD: Tensor, row_2nK: Tensor, centred_MD: Tensor, labels: Labels) -> Tensor:
    """AUROC of the mean exemplar vector, float32 (2, n).

    Args:
        centred_train_MD: MLP inputs of the training panel, unit and centred.
        row_2nK: each entry's strongest training contexts, −1 where it has fewer.
        centred_MD: of the panel that scores.
        labels: where entries are active on it.
    """
    n = labels.n
    out_2n = torch.empty(2, n)
    for part in blocks(n):
        row_eK = row_2nK[:, part].reshape(-1, row_2nK.shape[-1])
        keep_eK1 = (row_eK >= 0).float()[..., None]
        mean_eD = (centred_train_MD[row_eK.clamp_min(0)] * keep_eK1).sum(1) / keep_eK1.sum(1).clamp_min(1)
        area_e = auroc_own(average_ranks(mean_eD @ centred_MD.T), labels.active(part))
        out_2n[:, part] = area_e.view(2, -1)
    return out_2n


class LastToken:
    """Mean training activation per last token; tokens that the training panel lacks get the overall mean.

    Args:
        token_M: last token of each training context, int64.
        vocabulary: number of token ids.
    """

    def __init__(self, token_M: Tensor, vocabulary: int) -> None:
        seen_T, self._kind_M = token_M.unique(return_inverse=True)
        self._count_T = torch.bincount(self._kind_M)
        # the last kind stands for all tokens that were not seen
        self._place_V = torch.full((vocabulary,), len(seen_T))
        self._place_V[seen_T] = torch.arange(len(seen_T))

    def table(self, train_Mn: Tensor) -> Tensor:
        """Prediction per kind of token and column, float32 (n, T + 1)."""
        sums_Tn = torch.zeros(len(self._count_T), train_Mn.shape[1]).index_add_(0, self._kind_M, train_Mn)
        mean_Tn = sums_Tn / self._count_T[:, None]
        return torch.cat([mean_Tn, train_Mn.mean(0, keepdim=True)]).T.contiguous()

    def auroc(self, train_Mn: Tensor, token_M: Tensor, labels: Labels) -> Tensor:
        """AUROC of the table on another panel, float32 (2, n)."""
        kind_M = self._place_V[token_M]
        used_T, kind_M = kind_M.unique(return_inverse=True)
        weight_T = torch.bincount(kind_M)
        n = labels.n
        out_2n = torch.empty(2, n)
        for part in blocks(n):
            table_bT = self.table(train_Mn[:, part])[:, used_T]
            label = labels.active(part).float()
            count_eT = torch.zeros(len(label), len(used_T)).index_add_(1, kind_M, label)
            area_e = auroc_by_kind(torch.cat([table_bT, -table_bT]), weight_T, count_eT)
            out_2n[:, part] = area_e.view(2, -1)
        return out_2n


def token_list(exemplar_2nK: Tensor, token_M: Tensor, vocabulary: int, labels: Labels) -> Tensor:
    """AUROC of how often a context's last token stands among an entry's exemplar tokens, float32 (2, n).

    Args:
        exemplar_2nK: token ids at the entry's exemplars, −1 where it has fewer.
        token_M: last token of each context of the panel.
        vocabulary: number of token ids.
        labels: where entries are active on it.
    """
    used_T, kind_M = token_M.unique(return_inverse=True)
    # one more kind takes the exemplar tokens that the panel lacks
    place_V = torch.full((vocabulary + 1,), len(used_T))
    place_V[used_T] = torch.arange(len(used_T))
    weight_T = torch.bincount(kind_M)
    n = labels.n
    out_2n = torch.empty(2, n)
    for part in blocks(n):
        place_eK = place_V[exemplar_2nK[:, part].reshape(-1, exemplar_2nK.shape[-1])]
        value_eT = torch.zeros(len(place_eK), len(used_T) + 1).scatter_add_(1, place_eK, torch.ones(place_eK.shape))
        label = labels.active(part).float()
        count_eT = torch.zeros(len(label), len(used_T)).index_add_(1, kind_M, label)
        out_2n[:, part] = auroc_by_kind(value_eT[:, :-1], weight_T, count_eT).view(2, -1)
    return out_2n
