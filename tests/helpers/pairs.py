"""What tests ask of a pair of either role."""

from __future__ import annotations

import torch
from torch import Tensor

from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder

TEXTS = ["a red cat", "the dog"]
N = 2  # responses per activation


def losses(pair: Autoencoder, activation_BD: Tensor) -> tuple[Tensor, Tensor]:
    """What `TEXTS` cost the verbalizer and the reconstructor, of the first two activations."""
    token_BT, mask_BT = pair.verbalizer.encode_responses(TEXTS)
    written = -(pair.verbalizer.logprobs(activation_BD[:2], token_BT) * mask_BT).sum()
    return written, (pair.reconstructor(TEXTS)[0] - unit(activation_BD[:2])).pow(2).sum()


def responses(pair: Autoencoder, groups: int, length: int = 12) -> Tensor:
    """Random ids, `N` rows for each of `groups` activations."""
    generator = torch.Generator().manual_seed(5)
    return torch.randint(4, len(pair.target.tokenizer), (groups * N, length), generator=generator)
