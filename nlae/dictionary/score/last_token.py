"""A table of the last token: the mean training activation at each token, which knows nothing of the context."""

from __future__ import annotations

import torch
from torch import Tensor

from nlae.dictionary.population import Population
from nlae.dictionary.score.trials import Predict
from nlae.dictionary.subjects import Subjects


class LastToken:
    """Mean training activation per token; tokens that the training panel lacks get the overall mean.

    Args:
        token_M: last token of each training context, int64.
        size: number of token ids.
    """

    def __init__(self, token_M: Tensor, size: int) -> None:
        seen_T, self._kind_M = token_M.unique(return_inverse=True)
        self._count_T = torch.bincount(self._kind_M)
        self._place_V = torch.full((size,), len(seen_T))  # the last kind stands for all tokens that were not seen
        self._place_V[seen_T] = torch.arange(len(seen_T))

    def predict(self, train_Mn: Tensor, token_M: Tensor) -> Tensor:
        """What the table says at other contexts, float32 (n, M)."""
        sum_Tn = torch.zeros(len(self._count_T), train_Mn.shape[1]).index_add_(0, self._kind_M, train_Mn)
        mean_Tn = torch.cat([sum_Tn / self._count_T[:, None], train_Mn.mean(0, keepdim=True)])
        return mean_Tn[self._place_V[token_M]].T


def predictions(subjects: Subjects, population: Population) -> Predict:
    """Of the table on the test panel, for entries of both signs."""
    train, test = (torch.from_numpy(subjects.panel(role).token_id) for role in ("train", "test"))
    table = LastToken(train, int(max(train.max(), test.max())) + 1)

    def predict(places: Tensor) -> Tensor:
        said = table.predict(population.values["train"][:, places % population.n], test)
        return torch.where(places < population.n, 1.0, -1.0)[:, None] * said

    return predict
