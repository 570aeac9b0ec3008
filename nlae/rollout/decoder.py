"""The verbalizer's language model as the local engine runs it: packed, with rows that share one prefix.

A decoder knows rows and tokens; which row is whose, sampling and stopping are the engine's business. It believes no
count of writes that stands still (fused and 8-bit optimizers, and whoever writes through `.data`, leave it alone): the
prefix is read again at every call, and what was packed is compared by content.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from nlae.errors import NlaeError
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.rollout.attention import NAME, kept_in
from nlae.rollout.cache import SharedPrefixCache
from nlae.rollout.graphs import GraphedSteps
from nlae.rollout.packing import PackedLinear, PackedSibling, packable, shell
from nlae.target.cache import keeps_state, read_on
from nlae.target.scales import LogitShape


class Decoder:
    """Prompt and steps for up to `rows` rows at a time; use it inside `backbone.use(role)`.

    Args:
        verbalizer: prompt, injection and weights.
        role: whose weights.
        packed: merge and pack linear maps where that pays.
        graphs: run steps as CUDA graphs; the cache is then kept between calls.
    """

    def __init__(self, verbalizer: SiteVerbalizer, role: str, *, packed: bool = True, graphs: bool = False) -> None:
        self.verbalizer, self.role, self._graphs = verbalizer, role, graphs
        model: Any = verbalizer.backbone.language_model(role)
        if keeps_state(model.config):
            raise NlaeError(
                f"rollout=local: blocks of {verbalizer.backbone.target.source_name} keep a running state beside keys "
                "and values; choose rollout=plain"
            )
        # held, so that no later weight can lie where one of these was
        self._base = [weight for name, weight in model.named_parameters() if ".lora_" not in name]
        self._own = verbalizer.backbone.parameters_of(role)
        self._places = _places([*self._base, *self._own])
        self._plain = verbalizer.backbone.target.architecture.decoder(model)
        head = model.get_output_embeddings()
        dtype = _computed_in(head.weight) if packed else None
        self._shell = _own_attention(shell(self._plain, role, dtype=dtype))
        self._head = shell(head, role, dtype=dtype) if dtype is not None and packable(head, dtype) else head
        self._shape = LogitShape.of(model)
        self.n_prefix = len(verbalizer.ids.prefix_ids)
        self.n_tail = 1 + len(verbalizer.ids.suffix_ids)
        self._is_packed = any(isinstance(m, PackedLinear | PackedSibling) for m in (self._head, *self._shell.modules()))
        self._written = _versions([*self._base, *self._own]) if self._is_packed else None
        self._packed_of = _checksums(self._own) if self._is_packed else None
        self._prefix: DynamicCache | None = None
        self._kept: SharedPrefixCache | None = None
        self._graphed: GraphedSteps | None = None

    def fits(self, verbalizer: SiteVerbalizer, role: str) -> bool:
        """Whether this still runs that verbalizer: weights where they were and, where packed, as they were."""
        if self.verbalizer is not verbalizer or self.role != role:
            return False
        own = verbalizer.backbone.parameters_of(role)
        if self._places != _places([*self._base, *own]):
            return False
        if self._packed_of is None:
            return True
        # a count that moved is believed, and spares the checksums; of what is trained one that stands still is not
        return self._written == _versions([*self._base, *own]) and self._packed_of == _checksums(own)

    def cache(self, rows: int, tokens: int) -> SharedPrefixCache:
        """The prefix and room for `rows` rows of prompt tail and `tokens` generated tokens."""
        prefix = self._run_prefix()
        room, kept = self.n_tail + tokens, self._kept
        if kept is not None and kept.rows >= rows and kept.room == room:
            return kept
        made = SharedPrefixCache(prefix, self.n_prefix, rows, room)
        if self._graphs:
            device = self.verbalizer.backbone.target.device
            self._kept, self._graphed = made, GraphedSteps(partial(self._step, made), rows, room, device)
        return made

    def _run_prefix(self) -> DynamicCache:
        """At every call, into the same memory, which graphs read; once where packed maps tell that nothing changed."""
        if self._prefix is not None and self._is_packed:
            return self._prefix
        fresh = DynamicCache()
        if self.n_prefix:
            read_on(self._plain, fresh, input_ids=self.verbalizer.on_device(self.verbalizer.ids.prefix_ids))
        read: Any = fresh.layers
        for layer in read:
            layer.keys, layer.values = (entries.to(kept_in(entries)) for entries in (layer.keys, layer.values))
        kept = self._prefix = self._prefix or fresh
        layers: Any = zip(kept.layers, fresh.layers, strict=True)
        for old, new in layers if kept is not fresh else ():
            old.keys.copy_(new.keys)
            old.values.copy_(new.values)
        return kept

    def read(self, cache: SharedPrefixCache, first: int, activation_BD: Tensor, *, inject: bool) -> Tensor:
        """Run slot and suffix of new rows from `first` on; logits (B, V) of their first tokens."""
        place_S = torch.arange(self.n_prefix, self.n_prefix + self.n_tail, device=activation_BD.device)
        position_BS = place_S.expand(len(activation_BD), -1)
        mask_B1ST = cache.aim(first, len(activation_BD), position_BS, self.n_tail, 0)
        hidden_BSD = self.verbalizer.run_prompt(
            activation_BD,
            cache,
            self.role,
            inject_vector=inject,
            decoder=self._shell,
            position_ids=position_BS,
            attention_mask=mask_B1ST,
        )
        return self._logits(hidden_BSD[:, -1])

    def step(self, cache: SharedPrefixCache, token_B: Tensor, written_B: Tensor, written: Sequence[int]) -> Tensor:
        """Run the last token of rows 0 … B − 1; logits (B, V) of the next.

        Args:
            cache: theirs.
            token_B: last tokens.
            written_B: tokens that each row has written, that one included.
            written: the same on the host.
        """
        longest, alike = max(written), min(written) == max(written)
        width = self.n_tail + longest
        if self._graphed is not None:
            return self._graphed(token_B, written_B, width)
        return self._step(cache, token_B, written_B, width, width - 1 if alike else None)

    def _step(
        self, cache: SharedPrefixCache, token_B: Tensor, written_B: Tensor, width: int, start: int | None = None
    ) -> Tensor:
        position_B1 = (self.n_prefix + self.n_tail - 1 + written_B)[:, None]
        mask_B1ST = cache.aim(0, len(token_B), position_B1, width, start)
        output = read_on(
            self._shell,
            cache,
            input_ids=token_B[:, None],
            position_ids=position_B1,
            attention_mask=mask_B1ST,
        )
        return self._logits(output.last_hidden_state[:, -1])

    def _logits(self, hidden_BD: Tensor) -> Tensor:
        return self._shape(self._head(hidden_BD))[:, : self.verbalizer.backbone.target.n_tokens]


def _computed_in(weight: Tensor) -> torch.dtype:
    """The type that training multiplies this weight in: what is sampled must be what is trained."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _own_attention(decoder: Any) -> Any:
    """Point the copied modules, and only them, to the shared-prefix attention."""
    config = copy.copy(decoder.config)
    config._attn_implementation = NAME
    for module in decoder.modules():
        if getattr(module, "config", None) is not None:
            module.config = config
        if "_attn_implementation" in vars(module):
            module._attn_implementation = NAME
    return decoder


def _places(weights: Sequence[Tensor]) -> list[int]:
    return [weight.data_ptr() for weight in weights]


def _versions(weights: Sequence[Tensor]) -> list[int]:
    return [weight._version for weight in weights]


def _checksums(weights: Sequence[Tensor]) -> list[int]:
    """Of the bits of weights on the host, without a second copy: half of what packing as many numbers takes."""
    return [zlib.crc32(weight.detach().reshape(-1).view(torch.uint8).numpy().data) for weight in weights]
