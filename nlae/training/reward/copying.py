"""A price for quoting the text instead of saying what the activation holds."""

from __future__ import annotations

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.functional.copying import in_runs
from nlae.training.reward.base import Record


class Copying:
    """A price per generated token that lies in a run which also stands in the context.

    Tokens are compared, so a quote with other blanks or another case is not seen whole; shorter runs are free, since
    names and set phrases are shared by honest descriptions too. Only the last 64 tokens of a context are known.

    Args:
        price: per copied token.
        run: tokens in a row that make a copy.
    """

    def __init__(self, price: float = 0.02, run: int = 4) -> None:
        if run < 1:
            raise NlaeError(f"reward.terms.copying.run is {run}; a copy has at least 1 token")
        self.price, self.run = price, run

    def __call__(self, record: Record) -> Tensor:
        """See `RewardTerm`."""
        written = zip(record.token_BT.tolist(), record.length_B.tolist(), record.context_ids, strict=True)
        copied = [sum(in_runs(ids[:length], context, self.run)) for ids, length, context in written]
        return -self.price * torch.tensor(copied, dtype=torch.float32)
