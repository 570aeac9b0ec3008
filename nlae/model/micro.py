"""Micro-batches by tokens: rows of like length together, each with a backward of its own, summing to one update.

The prompt is read once for several micro-batches. Its keys and values are cut off the graph, gather the gradient of all
of them, and hand it back to the prompt's own graph at the end. Memory is bounded by tokens; where one row is too much,
the backbone can recompute its blocks. Sharing the start of the reconstructor's template is left out: the default
template has none, and the long one's is a tenth of its rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from nlae.functional.batching import token_batches
from nlae.functional.transfers import send
from nlae.model.backbone import REFERENCE, VERBALIZER
from nlae.target.cache import Reread, fork

if TYPE_CHECKING:
    from nlae.model.reconstructor import Reconstructor
    from nlae.model.site_reconstructor import SiteReconstructor
    from nlae.model.site_verbalizer import SiteVerbalizer


@dataclasses.dataclass(frozen=True)
class Part:
    """Responses of one micro-batch.

    Attributes:
        rows: their numbers among all responses, int64 (B,).
        token_BT: ids, no wider than the longest of them.
        mask_BT: 1.0 at real tokens.
        logp_BT: log-probabilities, with gradient; 0 at padding.
        reference_BT: the same of the frozen copy, or None.
    """

    rows: Tensor
    token_BT: Tensor
    mask_BT: Tensor
    logp_BT: Tensor
    reference_BT: Tensor | None


class SharedPrompt:
    """The verbalizer's prompt about G vectors, read once for any number of responses.

    Args:
        verbalizer: the policy.
        activation_GD: raw activations.
        role: `verbalizer` or `reference`.
    """

    def __init__(self, verbalizer: SiteVerbalizer, activation_GD: Tensor, role: str = VERBALIZER) -> None:
        self.verbalizer, self.role = verbalizer, role
        with verbalizer.backbone.use(role):
            last_GD, self._cache = verbalizer.read(activation_GD, role)
        layers: list[Any] = self._cache.layers
        # layers that share another's cache have none of their own
        self._kept = [number for number, layer in enumerate(layers) if layer.keys is not None]
        stored = [tensor for number in self._kept for tensor in (layers[number].keys, layers[number].values)]
        if isinstance(self._cache, Reread) and self._cache.seen_BTD is not None:
            stored = [self._cache.seen_BTD]
        self._graph: list[Tensor] = [last_GD, *stored]
        self._leaves = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in self._graph]

    def logprobs(self, group_B: Tensor, token_BT: Tensor, real_N: Tensor) -> Tensor:
        """As `SiteVerbalizer.respond`, for responses to the vectors numbered `group_B`."""
        with self.verbalizer.backbone.use(self.role):
            last_BD = self._leaves[0][group_B]
            return self.verbalizer.respond(last_BD, self._rows(group_B), token_BT, real_N, self.role)

    def backward(self) -> None:
        """Hand on the gradient that all responses have left; once, after the last of them."""
        reached = [(t, leaf.grad) for t, leaf in zip(self._graph, self._leaves, strict=True) if leaf.grad is not None]
        if reached:
            torch.autograd.backward([tensor for tensor, _ in reached], [grad for _, grad in reached])

    def _rows(self, group_B: Tensor) -> DynamicCache | Reread:
        cache = fork(self._cache)
        if isinstance(cache, Reread):
            cache.seen_BTD = self._leaves[1][group_B]
            return cache
        layers: list[Any] = cache.layers
        for number, keys, values in zip(self._kept, self._leaves[1::2], self._leaves[2::2], strict=True):
            layers[number].keys, layers[number].values = keys[group_B], values[group_B]
        return cache


def responses(
    verbalizer: SiteVerbalizer,
    activation_GD: Tensor,
    token_BT: Tensor,
    mask_BT: Tensor,
    budget: int,
    *,
    reference: bool = False,
) -> Iterator[Part]:
    """Log-probabilities of B = G·N responses, micro-batch by micro-batch.

    Call backward on each part's loss before taking the next part; after the last, all gradients are complete.

    Args:
        verbalizer: the policy.
        activation_GD: raw activations; row g has the responses g·N … g·N + N − 1.
        token_BT: response ids, padded on the right.
        mask_BT: 1 at real tokens.
        budget: tokens per micro-batch, padding counted; one row always fits.
        reference: give the frozen copy's log-probabilities too.
    """
    samples = len(token_BT) // len(activation_GD)
    length_B = mask_BT.sum(1).long().cpu()
    prompt_tokens = 1 + len(verbalizer.ids.suffix_ids)
    at_once = max(1, budget // prompt_tokens)
    longest_G = length_B.view(-1, samples).amax(1)
    order_G = longest_G.argsort(descending=True, stable=True)
    for group in order_G.split(at_once):
        (number,) = send(activation_GD.device, group)
        given = activation_GD[number]
        policy = SharedPrompt(verbalizer, given)
        held = None
        if reference:
            with torch.no_grad():
                held = SharedPrompt(verbalizer, given, REFERENCE)
        row = (group[:, None] * samples + torch.arange(samples)).flatten()
        place = torch.arange(len(group)).repeat_interleave(samples)
        for batch in token_batches(length_B[row].tolist(), budget):
            yield _part(policy, held, row[batch], place[batch], token_BT, length_B[row[batch]])
        policy.backward()


def _part(
    policy: SharedPrompt, held: SharedPrompt | None, row: Tensor, place: Tensor, token_BT: Tensor, length: Tensor
) -> Part:
    """One micro-batch. What is known of its rows is known on the host: the device is not asked."""
    width = max(1, int(length.max()))
    mask = torch.arange(width) < length[:, None]
    row, place, real_N, mask = send(token_BT.device, row, place, mask.flatten().nonzero().squeeze(1), mask.long())
    token = token_BT[row, :width]
    reference = None
    if held is not None:
        with torch.no_grad():
            reference = held.logprobs(place, token, real_N)
    return Part(row, token, mask.float(), policy.logprobs(place, token, real_N), reference)


def predictions(
    reconstructor: SiteReconstructor, texts: Sequence[str], budget: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Numbers of the texts of a micro-batch (B,), their unit vectors (B, D), and log-norm offsets (B,) or None."""
    for rows, ids_BT, mask_BT in readings(reconstructor, texts, budget):
        yield rows, *reconstructor.read(ids_BT, mask_BT)


def readings(
    reconstructor: Reconstructor | SiteReconstructor, texts: Sequence[str], budget: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Texts, micro-batch by micro-batch: their numbers (B,), ids and mask (B, T), all on the device."""
    ids_BT, mask_BT = reconstructor.render(list(texts))
    length_B = mask_BT.sum(1)
    for rows in token_batches(length_B.tolist(), budget):
        width = int(length_B[rows[0]])
        number_B, ids, mask = send(
            reconstructor.backbone.target.device, torch.tensor(rows), ids_BT[rows, :width], mask_BT[rows, :width]
        )
        yield number_B, ids, mask
