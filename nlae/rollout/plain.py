"""Rollouts as plainly as they can be written: what the faster engines are tested against.

Rows start from a copy of the prompt's prefix and leave when they are finished; the cache grows by concatenation, keys
are repeated for every head, and nobody joins. Choose `rollout=plain` where an architecture defeats `local`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from nlae.functional.randomness import draw, uniforms
from nlae.model.prompt import CLOSE_TAG
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.rollout.base import Rollouts
from nlae.rollout.ending import TAIL_TOKENS, parse_rows, stop_ids
from nlae.target.cache import Reread

KEEP_SHARE = 0.75


class PlainRollout:
    """Plain autoregressive sampling with a shared prefix.

    Args:
        batch_size: rows decoded together.
        temperature: of sampling when a call does not say; training wants 1.
    """

    def __init__(self, batch_size: int = 64, temperature: float = 1.0) -> None:
        self.batch_size, self.temperature = batch_size, temperature

    @torch.no_grad()
    def __call__(
        self,
        verbalizer: SiteVerbalizer,
        activation_BD: Tensor,
        seeds: Sequence[int],
        *,
        temperature: float | None = None,
        role: str = "verbalizer",
        inject: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Rollouts:
        """See `RolloutEngine`."""
        heat = self.temperature if temperature is None else temperature
        parts = []
        for start in range(0, len(activation_BD), self.batch_size):
            rows = slice(start, start + self.batch_size)
            decoding = _Decoding(verbalizer, activation_BD[rows], list(seeds[rows]), heat, role)
            parts.append(decoding.run(inject))
            if progress is not None:
                progress(len(parts[-1].text))
        return Rollouts.concatenate(parts)


class _Decoding:
    """State of one batch: which rows are alive, what each has written."""

    def __init__(
        self, verbalizer: SiteVerbalizer, activation_BD: Tensor, seeds: list[int], temperature: float, role: str
    ) -> None:
        self.verbalizer, self.activation_BD, self.role, self.temperature = verbalizer, activation_BD, role, temperature
        self.cap = verbalizer.prompt.max_tokens
        self.uniform_BT = uniforms(seeds, self.cap)
        device, batch = activation_BD.device, len(activation_BD)
        self.token_BT = torch.zeros(batch, self.cap, dtype=torch.long, device=device)
        self.mask_BT = torch.zeros(batch, self.cap, device=device)
        self.logp_BT = torch.zeros(batch, self.cap, device=device)
        self.alive = torch.ones(batch, dtype=torch.bool)
        self.stops = stop_ids(verbalizer, role)
        # which original row each row of the cache is; finished rows are dropped from it now and then
        self.row = torch.arange(batch)

    def run(self, inject: bool) -> Rollouts:
        verbalizer = self.verbalizer
        with verbalizer.backbone.use(self.role):
            logits_BV, cache = verbalizer.prefill(self.activation_BD, self.role, inject_vector=inject)
            for t in range(self.cap):
                token_B = self._draw(logits_BV, t)
                self._close(t)
                if t + 1 == self.cap or not self.alive.any():
                    break
                token_B = self._compact(cache, token_B)
                logits_BV = verbalizer.step(token_B, cache, self.role)
        return self._result()

    def _draw(self, logits_BV: Tensor, t: int) -> Tensor:
        """Sample token t of every row in the cache; rows that had finished are computed but not recorded."""
        token_B, logp_B = draw(logits_BV, self.uniform_BT[self.row, t].to(logits_BV.device), self.temperature)
        living = self.alive[self.row]
        rows = self.row[living].to(token_B.device)
        chosen = living.to(token_B.device)
        self.token_BT[rows, t] = token_B[chosen]
        self.logp_BT[rows, t] = logp_B[chosen]
        self.mask_BT[rows, t] = 1.0
        return token_B

    def _close(self, t: int) -> None:
        """Rows whose last tokens spell the closing tag, or that ended their turn, are done."""
        rows = torch.nonzero(self.alive).squeeze(1).tolist()
        recent = self.token_BT[:, max(0, t + 1 - TAIL_TOKENS) : t + 1].tolist()
        for row, text in zip(rows, self.verbalizer.tokenizer.batch_decode([recent[r] for r in rows]), strict=True):
            if CLOSE_TAG in text or recent[row][-1] in self.stops:
                self.alive[row] = False

    def _compact(self, cache: DynamicCache | Reread, token_B: Tensor) -> Tensor:
        living = self.alive[self.row]
        if living.float().mean() > KEEP_SHARE:
            return token_B
        keep = torch.nonzero(living).squeeze(1)
        self.row = self.row[keep]
        cache.batch_select_indices(keep.to(token_B.device))
        return token_B[keep.to(token_B.device)]

    def _result(self) -> Rollouts:
        width = int(self.mask_BT.sum(1).max())
        lengths = self.mask_BT.sum(1).long().tolist()
        rows = [row[:n] for row, n in zip(self.token_BT.tolist(), lengths, strict=True)]
        parsed = parse_rows(self.verbalizer, rows, self.stops)
        return Rollouts(
            self.token_BT[:, :width],
            self.mask_BT[:, :width],
            self.logp_BT[:, :width],
            [text for text, _ in parsed],
            torch.tensor([closed for _, closed in parsed]),
        )
