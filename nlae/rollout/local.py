"""Rollouts in the training process: nothing is moved but vectors, and no row waits for another.

Rows share the prompt's prefix; a row that is finished makes room, and the next activation joins while the others go
on. Tokens are looked at by the host only every `sync_every` steps, so a finished row may run a few steps too far: what
it wrote after its end is dropped, and since every draw depends on (row's seed, token) alone the text is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nlae.functional.randomness import draw, uniforms
from nlae.functional.transfers import send
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.rollout.base import Rollouts
from nlae.rollout.decoder import Decoder
from nlae.rollout.ending import Endings, parse_rows

# joining costs a pass over the prompt's tail: wait until this share of the rows is free
JOIN_SHARE = 0.25


class LocalRollout:
    """Sampling with a shared prefix, packed weights and rows that join as others finish.

    Args:
        batch_size: rows decoded together: speed and memory, not the samples; None takes 64 on CPUs, 512 elsewhere.
        temperature: of sampling when a call does not say; training wants 1.
        packed: on CPUs, keep a second copy of the weights that is multiplied faster.
        sync_every: steps between two looks at what was written; None takes 1 on CPUs, 8 elsewhere.
        graphs: run steps as CUDA graphs, which keeps the rows' cache between calls.
    """

    def __init__(
        self,
        batch_size: int | None = None,
        temperature: float = 1.0,
        packed: bool = True,
        sync_every: int | None = None,
        graphs: bool = False,
    ) -> None:
        self.batch_size, self.temperature, self.packed, self.sync_every = batch_size, temperature, packed, sync_every
        self.graphs = graphs
        self._decoder: Decoder | None = None

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
        on_cpu = activation_BD.device.type == "cpu"
        every, size = self.sync_every or (1 if on_cpu else 8), self.batch_size or (64 if on_cpu else 512)
        with verbalizer.backbone.use(role), torch.inference_mode():
            if self._decoder is None or not self._decoder.fits(verbalizer, role):
                self._decoder = None  # two packed copies at once would be one too many
                self._decoder = Decoder(verbalizer, role, packed=self.packed, graphs=self.graphs)
            rows = min(size, len(activation_BD))
            run = _Run(self._decoder, activation_BD, uniforms(list(seeds), verbalizer.prompt.max_tokens), heat, rows)
            run.all(inject, every, progress)
        # outside: what was made in inference mode may not enter a backward
        return run.result()


class _Run:
    """One call: what was written of each activation, and who sits in which row."""

    def __init__(
        self, decoder: Decoder, activation_BD: Tensor, uniform_BT: Tensor, temperature: float, rows: int
    ) -> None:
        self.decoder, self.activation_BD, self.temperature, self.rows = decoder, activation_BD, temperature, rows
        self.device, (count, self.cap) = activation_BD.device, uniform_BT.shape
        self.uniform_BT = uniform_BT.to(self.device)
        self.token_BT = torch.zeros(count, self.cap, dtype=torch.long, device=self.device)
        self.logp_BT = torch.zeros(count, self.cap, device=self.device)
        self.length_B = torch.zeros(count, dtype=torch.long)
        self.endings = Endings(decoder.verbalizer, decoder.role)
        self.cache = decoder.cache(rows, self.cap)
        self.next = 0
        # of the rows that are decoded: which activation each is, and how many tokens it has. The host counts along,
        # so that a step neither sends it anything nor waits for it
        self.item: list[int] = []
        self.written: list[int] = []
        self._copy_counts()

    def all(self, inject: bool, every: int, progress: Callable[[int], None] | None) -> None:
        """Write every row to its end."""
        count = len(self.activation_BD)
        token_B = torch.zeros(0, dtype=torch.long, device=self.device)
        steps = 0
        while self.item or self.next < count:
            free = self.rows - len(self.item)
            if self.next < count and (not self.item or free >= max(1, JOIN_SHARE * self.rows)):
                token_B = torch.cat([token_B, self._join(min(free, count - self.next), inject)])
            else:
                logits_BV = self.decoder.step(self.cache, token_B, self.written_B, self.written)
                token_B = self._sample(logits_BV, 0)
                steps += 1
            if steps % every == 0 or max(self.written) == self.cap:
                before = len(self.item)
                token_B = self._leave(every + 1, token_B)
                if progress is not None and before > len(self.item):
                    progress(before - len(self.item))

    def _join(self, count: int, inject: bool) -> Tensor:
        """Read the prompts of the next activations, and draw their first tokens."""
        first, new = len(self.item), range(self.next, self.next + count)
        self.next += count
        logits_BV = self.decoder.read(self.cache, first, self.activation_BD[new.start : new.stop], inject=inject)
        self.item += new
        self.written += [0] * count
        self._copy_counts()
        return self._sample(logits_BV, first)

    def _sample(self, logits_BV: Tensor, first: int) -> Tensor:
        """One token for every row from `first` on."""
        item_B, place_B = self.item_B[first:], self.written_B[first:]
        token_B, logp_B = draw(logits_BV, self.uniform_BT[item_B, place_B], self.temperature)
        self.token_BT[item_B, place_B] = token_B
        self.logp_BT[item_B, place_B] = logp_B
        self.written[first:] = [n + 1 for n in self.written[first:]]
        place_B += 1
        return token_B

    def _copy_counts(self) -> None:
        """Bring to the device who sits where, after rows came or went."""
        self.item_B, self.written_B = send(self.device, _whole(self.item), _whole(self.written))

    def _leave(self, unseen: int, token_B: Tensor) -> Tensor:
        """Look at what was written: let rows that ended in their last `unseen` tokens go, and close the gaps.

        Returns:
            `token_B`, the last token of each row, of the rows that stay.
        """
        texts = self.token_BT[self.item_B].tolist()
        rows = zip(texts, self.written, strict=True)
        lengths = [self.endings.length(row[:n], max(0, n - unseen)) for row, n in rows]
        done = [end is not None or n == self.cap for end, n in zip(lengths, self.written, strict=True)]
        for item, end, n in zip(self.item, lengths, self.written, strict=True):
            self.length_B[item] = n if end is None else end
        if not any(done):
            return token_B
        stay = [row for row, gone in enumerate(done) if not gone]
        gaps = [row for row in range(len(stay)) if done[row]]
        fill = [row for row in stay if row >= len(stay)]
        order = list(range(len(stay)))
        for gap, row in zip(gaps, fill, strict=True):
            order[gap] = row
        fill_N, gaps_N, order_B = send(self.device, _whole(fill), _whole(gaps), _whole(order))
        if gaps:
            self.cache.move(fill_N, gaps_N)
        self.item, self.written = [self.item[row] for row in order], [self.written[row] for row in order]
        self._copy_counts()
        return token_B[order_B]

    def result(self) -> Rollouts:
        """What was written."""
        width = int(self.length_B.max())
        length_B = self.length_B.to(self.device)
        mask_BT = (torch.arange(width, device=self.device) < length_B[:, None]).float()
        token_BT = self.token_BT[:, :width] * mask_BT.long()
        rows = [row[:n] for row, n in zip(token_BT.tolist(), self.length_B.tolist(), strict=True)]
        parsed = parse_rows(self.decoder.verbalizer, rows, self.endings.stops)
        return Rollouts(
            token_BT,
            mask_BT,
            self.logp_BT[:, :width] * mask_BT,
            [text for text, _ in parsed],
            torch.tensor([closed for _, closed in parsed]),
        )


def _whole(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long)
