"""One window as tensors, and the forward pass that shows every layer's MLP input and neurons to whoever asks.

No attention mask is passed: padding stands on the right, and a causal model's real tokens never see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.scan.exemplars import Reading
from nlae.dictionary.scan.windows import Window
from nlae.target import Target

Seen = Callable[[int, str, Tensor], None]


def token_ids(corpus: Corpus, window: Window, pad: int) -> Tensor:
    """Token ids of a window, padded on the right, int64 [B, T]."""
    ids_BT = torch.full((len(window.documents), max(window.lengths)), pad, dtype=torch.long)
    for index, (document, length) in enumerate(zip(window.documents, window.lengths, strict=True)):
        ids_BT[index, :length] = torch.tensor(corpus.input_ids(document)[:length])
    return ids_BT


def make_reading(window: Window, first: int, device: torch.device | str = "cpu") -> Reading:
    """Which tokens of a training window count: those from `first` on that are no padding."""
    length_B = torch.tensor(window.lengths)
    padding_BT = torch.arange(first, int(length_B.max())) >= length_B[:, None]
    return Reading(
        padding_BT=padding_BT.to(device),
        padded=tuple(padding_BT.any(1).tolist()),
        document_B=torch.tensor(window.documents, dtype=torch.int32).to(device),
        first=first,
        tokens=int((~padding_BT).sum()),
    )


@contextmanager
def watching(target: Target, kinds: Sequence[str], seen: Seen) -> Iterator[None]:
    """Call `seen(layer, kind, values_BTW)` for `mlp_in` or `mlp_neurons`, as `kinds` says, of every block that runs."""
    handles = []
    for layer in range(target.n_layers):
        for kind in kinds:
            module, side = target.architecture.hooked(target.model, kind, layer)
            assert side == "input"

            def hook(module: Any, args: Any, layer: int = layer, kind: str = kind) -> None:
                seen(layer, kind, args[0])

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
