"""A reward that sees the context."""

import torch


class Echo:
    """A price on the share of the written tokens that stand in the context."""

    def __init__(self, price: float = 0.5):
        self.price = price

    def __call__(self, record):
        shares = []
        for tokens, mask, context in zip(record.token_BT.tolist(), record.mask_BT, record.context_ids, strict=True):
            written = tokens[: int(mask.sum())]
            shares.append(sum(token in context for token in written) / max(1, len(written)))
        return -self.price * torch.tensor(shares)
