"""One window as tensors, and the forward pass that shows every layer's MLP input and neurons to whoever asks.

No attention mask is passed: padding stands on the right, and a causal model's real tokens never see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.scan.decoys import Ints, cycles, strata
from nlae.dictionary.scan.streams import Reading
from nlae.dictionary.scan.windows import Window
from nlae.functional.randomness import generator
from nlae.target import Target

Seen = Callable[[int, str, Tensor], None]


def token_ids(corpus: Corpus, window: Window, pad: int) -> Tensor:
    """Token ids of a window, padded on the right, int64 [B, T]."""
    ids_BT = torch.full((len(window.documents), max(window.lengths)), pad, dtype=torch.long)
    for index, (document, length) in enumerate(zip(window.documents, window.lengths, strict=True)):
        ids_BT[index, :length] = torch.tensor(corpus.input_ids(document)[:length])
    return ids_BT


def make_reading(
    window: Window,
    ids_BT: Tensor,
    *,
    first: int,
    layers: int,
    token_rank: Ints,
    seed: tuple[int | str, ...],
    device: torch.device | str = "cpu",
) -> Reading:
    """Where a training window's tokens are, and where the decoys of each layer come from.

    Args:
        window: passages of more than `first` tokens each.
        ids_BT: its tokens, on the CPU.
        first: position from which tokens count.
        layers: number of permutations to draw.
        token_rank: class of corpus frequency of every token id.
        seed: keys of the permutations.
        device: where the tensors are wanted.
    """
    n_passages, longest = ids_BT.shape
    length_B = np.asarray(window.lengths)
    counted_B = length_B - first
    ends_B = np.cumsum(counted_B)
    column_T = np.arange(longest - first)
    # number of each position among those that count; padding stands for the last of its passage
    place_BT = (ends_B - counted_B)[:, None] + np.minimum(column_T, counted_B[:, None] - 1)
    padding_BT = column_T >= counted_B[:, None]
    row_BT = np.arange(n_passages)[:, None] * longest + first + column_T
    row_n = row_BT[~padding_BT]
    token_n = ids_BT.numpy().reshape(-1)[row_n]
    index_Ln = cycles(strata(token_n, token_rank[token_n]), layers, generator(*seed))
    return Reading(
        real_BT=torch.from_numpy(row_n[place_BT]).to(device),
        decoy_LBT=torch.from_numpy(row_n[index_Ln][:, place_BT]).to(device),
        pads=torch.from_numpy(np.flatnonzero(padding_BT)).to(device),
        pad_ends=(0, *np.cumsum(padding_BT.sum(1)).tolist()),
        document_B=torch.tensor(window.documents, dtype=torch.int32).to(device),
        first=first,
        tokens=int(ends_B[-1]),
    )


@contextmanager
def watching(target: Target, seen: Seen) -> Iterator[None]:
    """Call `seen(layer, kind, flat)` for `mlp_in` and `mlp_neurons` of every block that runs.

    `flat` is the hook's tensor with passages and positions as one dimension, shape (B·T, width).
    """
    handles = []
    for layer in range(target.n_layers):
        for kind in ("mlp_in", "mlp_neurons"):
            module, side = target.architecture.hooked(target.model, kind, layer)
            assert side == "input"

            def hook(_module: Any, args: Any, layer: int = layer, kind: str = kind) -> None:
                seen(layer, kind, args[0].flatten(0, -2))

            handles.append(module.register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def forward(target: Target, ids_BT: Tensor) -> None:
    """Run all blocks, without the output head."""
    target.architecture.decoder(target.model)(input_ids=ids_BT.to(target.device), use_cache=False)
