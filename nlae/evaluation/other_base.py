"""A reader on another family's base: what somebody who shares no weight with the pair makes of the words.

The other model reads the explanation in a short frame; a ridge map from the activation at its last token to the
target's direction is fitted on training texts, its penalty chosen on a fifth of them. That is far less than a trained
reader, so a gap to the pair's own is no proof of a private code; understanding is proof of public words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nlae.evaluation.base import Reader
from nlae.evaluation.per_neuron import PENALTIES, Ridge
from nlae.functional.reconstruction import squared_error, unit
from nlae.target import Site, Target, Trunk
from nlae.target.model import pad_right
from nlae.target.trunk import read_last

FRAME = "{explanation}\nIn short, this is about"
HELD = 5  # every fifth text chooses the penalty


class OtherBase:
    """Reads texts with a model, and learns a linear map from what it makes of them.

    Args:
        target: the other model.
        depth: of the block that is read, 0 to 1.
        max_tokens: of a text that are read: its beginning.
        batch_size: texts at a time.
    """

    def __init__(self, target: Target, depth: float = 0.6, max_tokens: int = 256, batch_size: int = 32) -> None:
        site = Site(layer=round(depth * (target.n_layers - 1))).resolve(target.n_layers)
        self.target, self.trunk = target, Trunk(target.model, site.sites[0])
        self.max_tokens, self.batch_size = max_tokens, batch_size

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> Tensor:
        """Activations at the last token of each text in its frame, float32 (N, D) on the CPU."""
        tokenizer: Any = self.target.tokenizer
        before, after = FRAME.split("{explanation}")
        tail = tokenizer.encode(after, add_special_tokens=False)
        rows = [[*tokenizer.encode(before + text)[: self.max_tokens], *tail] for text in texts]
        parts = []
        for start in range(0, len(rows), self.batch_size):
            ids_BT, mask_BT = pad_right(rows[start : start + self.batch_size], self.target.pad_id)
            mask_BT = mask_BT.to(self.target.device)
            hidden_BTD = self.trunk(input_ids=ids_BT.to(self.target.device), attention_mask=mask_BT)
            parts.append(read_last(hidden_BTD, mask_BT).float().cpu())
        return torch.cat(parts)

    def fit(self, texts: Sequence[str], unit_ND: Tensor) -> Reader:
        """A reader: texts to unit vectors.

        Args:
            texts: of training rows.
            unit_ND: their directions.
        """
        state_NE, held_N = self.states(texts), torch.arange(len(texts)) % HELD == 0
        first = Ridge(state_NE[~held_N], unit_ND[~held_N])
        errors = [squared_error(unit(first.predict(state_NE[held_N], p)), unit_ND[held_N]).sum() for p in PENALTIES]
        penalty = PENALTIES[int(torch.stack(errors).argmin())]
        whole = Ridge(state_NE, unit_ND)
        return lambda given: unit(whole.predict(self.states(given), penalty)).float()
