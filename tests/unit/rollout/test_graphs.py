"""Steps as recorded graphs, on a CPU: operators are recorded once and run again without the code that called them.

The recording forbids what a CUDA graph forbids: asking for a value on the host, and bringing host data in.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nlae.errors import NlaeError
from nlae.rollout import LocalRollout, PlainRollout, graphs
from nlae.rollout.graphs import GraphedSteps, rounded_places, rounded_rows
from rollouts import same

SEEDS = list(range(100, 112))
FORBIDDEN = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique", "is_nonzero", "equal")


def storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Recording(TorchDispatchMode):
    """Every operator with the tensors it read and made."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[1]
        assert name not in FORBIDDEN, f"{name} waits for the device or copies from the host"
        made = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, made))
        return made

    def replay(self):
        for func, args, kwargs, made in self.calls:
            given = {storage(item) for item in tree_leaves((args, kwargs)) if isinstance(item, torch.Tensor)}
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                # a view or a write in place already lies where it lay
                if isinstance(old, torch.Tensor) and storage(old) not in given:
                    old.copy_(new)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """Recordings that were made in place of graphs."""
    found: list[Recording] = []

    def capture(run, pool):
        recording = Recording()
        with recording:
            run()
        found.append(recording)
        return recording.replay

    monkeypatch.setattr(graphs, "capture", capture)
    return found


@pytest.mark.usefixtures("many_stops")
@pytest.mark.parametrize("family", ["cohere", "gemma2", "gemma3", "gpt2", "gpt_neox", "llama", "mistral", "qwen3"])
@pytest.mark.parametrize("size", [12, 5])
def test_replayed_steps_write_the_plain_engines_tokens(make_pair, activations, recorded, monkeypatch, family, size):
    monkeypatch.setattr(graphs, "ROWS", 2)
    monkeypatch.setattr(graphs, "PLACES", 8)
    pair = make_pair(family)
    expected = PlainRollout()(pair.at().verbalizer, activations, SEEDS)
    engine = LocalRollout(batch_size=size, sync_every=3, packed=False, graphs=True)
    for _ in range(2):
        same(engine(pair.at().verbalizer, activations, SEEDS), expected)
    assert len(recorded) > 2, "rows leave and texts grow, so there is more than one shape"


@pytest.mark.usefixtures("many_stops")
def test_training_between_calls_needs_no_new_recording(make_pair, activations, recorded):
    pair = make_pair("llama")
    engine = LocalRollout(packed=False, graphs=True)
    before = engine(pair.at().verbalizer, activations, SEEDS)
    made = len(recorded)
    with torch.no_grad():
        for weight in pair.verbalizer.trainable():
            weight.mul_(1.7)
    after = engine(pair.at().verbalizer, activations, SEEDS)
    assert len(recorded) == made
    assert after.text != before.text
    assert after.text == PlainRollout()(pair.at().verbalizer, activations, SEEDS).text


@pytest.mark.usefixtures("recorded")
def test_another_role_and_more_rows_get_recordings_of_their_own(make_pair, activations):
    pair = make_pair("llama")
    pair.verbalizer.freeze_reference()
    with torch.no_grad():
        for weight in pair.verbalizer.trainable():
            weight.mul_(1.7)
    engine = LocalRollout(packed=False, graphs=True)
    for count, role in ((3, "verbalizer"), (12, "verbalizer"), (12, "reference"), (5, "reference")):
        found = engine(pair.at().verbalizer, activations[:count], SEEDS[:count], role=role)
        expected = PlainRollout()(pair.at().verbalizer, activations[:count], SEEDS[:count], role=role)
        assert found.text == expected.text


@pytest.mark.usefixtures("recorded")
def test_a_step_that_asks_the_host_is_caught():
    steps = GraphedSteps(lambda t, w, width: torch.zeros(2, 3) + w.max().item(), 2, 4, torch.device("cpu"))
    with pytest.raises(AssertionError, match="waits for the device"):
        steps(torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.long), 2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_cuda_device_it_says_so(make_pair, activations):
    with pytest.raises(NlaeError, match=r"rollout\.graphs=true needs a CUDA device"):
        LocalRollout(graphs=True)(make_pair("llama").at().verbalizer, activations, SEEDS)


@pytest.mark.parametrize("most", [1, 7, 64, 500, 512])
def test_sizes_are_few_and_hold_what_they_must(most):
    rows = [rounded_rows(count, most) for count in range(1, most + 1)]
    assert all(count <= found <= most for count, found in enumerate(rows, 1))
    assert all(found <= count + max(8, count / 4) for count, found in enumerate(rows, 1))
    assert len(set(rows)) <= 32
    places = [rounded_places(width, most) for width in range(1, most + 1)]
    assert all(width <= found <= most for width, found in enumerate(places, 1))
    assert len(set(places)) <= most / 64 + 1


def test_weights_on_the_host_beside_a_gpu_are_refused(make_pair, activations, monkeypatch):
    """What is recorded there is nothing, and would write garbage."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(NlaeError, match=r"rollout\.graphs=true needs a CUDA device and the weights on it"):
        LocalRollout(graphs=True)(make_pair("llama").at().verbalizer, activations, SEEDS)
