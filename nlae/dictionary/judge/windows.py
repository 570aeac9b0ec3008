"""Short texts with what every judged entry does at each of their tokens, and which of them the judge is shown.

The published protocol: windows of 32 tokens; active ones drawn evenly over the deciles of their strongest activation,
since the top alone flatters a description; inactive ones drawn at random from the rest. Everything comes from documents
that chose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nlae.functional.randomness import derive_seed, generator
from nlae.target.hooks import capture
from nlae.target.model import pad_right
from nlae.target.site import Site

if TYPE_CHECKING:
    from nlae.target import Target


@dataclass(frozen=True)
class Windows:
    """Windows of equal length and what neurons do in them.

    Attributes:
        token_WT: token ids, int64.
        tokens: the same as text, one string each.
        source: source work of each window.
        neurons: by layer, the neurons that were read.
        activation: by layer, their activations, float32 (W, T, neurons).
    """

    token_WT: Tensor
    tokens: tuple[tuple[str, ...], ...]
    source: tuple[str, ...]
    neurons: Mapping[int, tuple[int, ...]]
    activation: Mapping[int, Tensor]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.token_WT)

    def of(self, layer: int, neuron: int, sign: int = 1) -> Tensor:
        """Sign · activation of one neuron, (W, T)."""
        return sign * self.activation[layer][..., self.neurons[layer].index(neuron)]


@dataclass(frozen=True)
class Subject:
    """A description to be judged, with the truth about it.

    Attributes:
        key: name of the entry, e.g. `12.345+`; the same key in several groups is the same entry.
        group: whose description it is: `ours`, `token_list`, `context_only`, `decoy`, …
        description: what the judge is told.
        activation_WT: sign · activation in each window.
        threshold: what counts as firing; from documents that are not judged here.
        layer: for strata; −1 for planted ones.
        passes: whether the entry passed on the split that decides.
        neuron: what intervals draw as one, both signs of a neuron together; None: the entry by itself.
    """

    key: str
    group: str
    description: str
    activation_WT: Tensor
    threshold: float
    layer: int = -1
    passes: bool = False
    neuron: str | None = None

    @property
    def drawn(self) -> str:
        """What it is drawn with in intervals."""
        return self.key if self.neuron is None else self.neuron


@dataclass(frozen=True)
class Trial:
    """One window shown for one subject.

    Attributes:
        window: its number.
        active: whether the entry fires in it.
        marked: tokens to mark when the marking itself is judged: those that fire, or as many at random.
        quantile: of an active window, which share of the subject's range it is from; −1 for an inactive one.
    """

    window: int
    active: bool
    marked: tuple[int, ...]
    quantile: int


@torch.no_grad()
def read_windows(
    target: Target,
    passages: Sequence[Sequence[int]],
    sources: Sequence[str],
    neurons: Mapping[int, Sequence[int]],
    *,
    count: int = 1500,
    length: int = 32,
    skip: int = 8,
    seed: int = 0,
    batch_tokens: int = 4096,
) -> Windows:
    """Draw windows from passages and read the neurons of several layers in one forward pass.

    Args:
        target: the model.
        passages: token ids of passages that chose nothing.
        sources: source work of each passage.
        neurons: by layer, which to read.
        count: number of windows; all there are if fewer.
        length: tokens of a window.
        skip: first tokens of a passage that belong to no window.
        seed: of the draw.
        batch_tokens: most tokens read at a time.
    """
    places = _draw_places([len(row) for row in passages], count, length, skip, seed)
    wanted = {layer: list(dict.fromkeys(int(n) for n in chosen)) for layer, chosen in sorted(neurons.items())}
    activation = {layer: torch.zeros(len(places), length, len(chosen)) for layer, chosen in wanted.items()}
    by_passage: dict[int, list[int]] = {}
    for number, (passage, _) in enumerate(places):
        by_passage.setdefault(passage, []).append(number)
    sites = {layer: Site("mlp_neurons", layer).resolve(target.n_layers) for layer in wanted}
    decoder = target.architecture.decoder(target.model)
    for batch in _batches(sorted(by_passage, key=lambda p: (len(passages[p]), p)), passages, batch_tokens):
        ids_BT, mask_BT = pad_right([passages[passage] for passage in batch], target.pad_id)
        with ExitStack() as stack:
            seen = {layer: stack.enter_context(capture(target.model, site)) for layer, site in sites.items()}
            decoder(input_ids=ids_BT.to(target.device), attention_mask=mask_BT.to(target.device), use_cache=False)
        for layer, captured in seen.items():
            kept_BTn = captured.value[..., wanted[layer]].float().cpu()
            for place, passage in enumerate(batch):
                for number in by_passage[passage]:
                    start = places[number][1]
                    activation[layer][number] = kept_BTn[place, start : start + length]
    rows = [list(passages[passage][start : start + length]) for passage, start in places]
    return Windows(
        torch.tensor(rows, dtype=torch.long).view(len(rows), length),
        tuple(tuple(str(target.tokenizer.decode([token])) for token in row) for row in rows),
        tuple(sources[passage] for passage, _ in places),
        {layer: tuple(chosen) for layer, chosen in wanted.items()},
        activation,
    )


def draw_trials(subject: Subject, *, quantiles: int, per_quantile: int, inactive: int, seed: int) -> list[Trial] | None:
    """Windows to show for one subject, active and inactive mixed; None if it fires or rests in too few windows.

    Args:
        subject: see `Subject`.
        quantiles: equal shares of its active windows, by their strongest activation.
        per_quantile: windows from each.
        inactive: windows in which it does not fire.
        seed: of the draw; the same entry gets the same windows whoever describes it.
    """
    peak_W = subject.activation_WT.amax(-1)
    source = generator(seed, "trials", subject.key)
    # a random order first, so that ties (planted detectors) are split at random
    order_W = torch.randperm(len(peak_W), generator=source)
    active = order_W[peak_W[order_W] > subject.threshold]
    resting = order_W[peak_W[order_W] <= subject.threshold]
    if len(active) < quantiles * per_quantile or len(resting) < inactive:
        return None
    active = active[peak_W[active].argsort(descending=True, stable=True)]
    trials = []
    for number, share in enumerate(active.tensor_split(quantiles)):
        for window in share[torch.randperm(len(share), generator=source)[:per_quantile]].tolist():
            fires_T = subject.activation_WT[window] > subject.threshold
            trials.append(Trial(window, True, tuple(torch.nonzero(fires_T).squeeze(1).tolist()), number))
    length = subject.activation_WT.shape[1]
    for number, window in enumerate(resting[:inactive].tolist()):
        like = trials[number % (quantiles * per_quantile)].marked
        at_random = torch.randperm(length, generator=source)[: len(like)].sort().values.tolist()
        trials.append(Trial(window, False, tuple(at_random), -1))
    return trials


def stratified_sample(layer: Sequence[int], frequency: Sequence[float], count: int, seed: int) -> list[int]:
    """Rows of a random sample spread evenly over layers, and within each over quarters of its frequencies.

    No score is looked at: a sample chosen by any score would measure the choice.
    """
    by_layer: dict[int, list[int]] = {}
    for row, number in enumerate(layer):
        by_layer.setdefault(int(number), []).append(row)
    queues: list[list[int]] = []
    for number, rows in sorted(by_layer.items()):
        rows.sort(key=lambda row: (frequency[row], row))
        size = max(1, -(-len(rows) // 4))
        for quarter, start in enumerate(range(0, len(rows), size)):
            part = rows[start : start + size]
            order = torch.randperm(len(part), generator=generator(seed, "sample", number, quarter)).tolist()
            queues.append([part[place] for place in order])
    # the last round takes from a random few of the strata
    queues.sort(key=lambda queue: derive_seed(seed, "stratum", queue[0]))
    chosen: list[int] = []
    depth = 0
    while len(chosen) < min(count, len(layer)):
        chosen += [queue[depth] for queue in queues if depth < len(queue)][: count - len(chosen)]
        depth += 1
    return sorted(chosen)


def _draw_places(lengths: Sequence[int], count: int, length: int, skip: int, seed: int) -> list[tuple[int, int]]:
    """(passage, first token) of windows that do not overlap, in order."""
    places = [(p, s) for p, size in enumerate(lengths) for s in range(skip, size - length + 1, length)]
    order = torch.randperm(len(places), generator=generator(seed, "windows")).tolist()
    return sorted(places[place] for place in order[:count])


def _batches(order: Sequence[int], passages: Sequence[Sequence[int]], batch_tokens: int) -> list[list[int]]:
    """Passages of like length together, shortest first."""
    batches: list[list[int]] = []
    for passage in order:
        if batches and len(passages[passage]) * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(passage)
        else:
            batches.append([passage])
    return batches
