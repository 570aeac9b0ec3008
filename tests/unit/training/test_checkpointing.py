"""`machine.checkpointing`: what is run again in the backward ends in the same weights as what was kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nlae.model.autoencoder import Autoencoder
from nlae.target.architecture import Architecture
from nlae.tracking import NullRun
from nlae.training.fit import fit

UPDATES = 4
OBJECTIVES = ("verbalizer", "reconstructor", "grpo")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_ends_in_the_same_weights_and_curves(objective, fresh, half, reinforce, serve, held_out, tmp_path):
    def train(again: bool) -> tuple[Autoencoder, list[dict], int]:
        pair, folder, runs = fresh(magnitude=True, seed=3), tmp_path / str(again), []
        block = Architecture.of(pair.target.model).blocks(pair.target.model)[0]
        if again:
            pair.backbone.recompute()
        if objective != "grpo":
            module, data = half(objective, pair, UPDATES), serve(objective, UPDATES)
        else:
            module = reinforce(pair, UPDATES, algorithm=objective)
            data = serve("rollout", UPDATES, batch_size=4)
        module.validation, module.validate_every = held_out, 2
        block.input_layernorm.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
        folder.mkdir()
        fit(module, data, folder, run=NullRun())
        return pair, curves(folder), sum(runs)

    kept, kept_curves, kept_runs = train(False)
    run_again, again_curves, again_runs = train(True)
    assert again_runs > kept_runs, "blocks really ran again"
    start = fresh(magnitude=True, seed=3).trained_state()
    moved = 0.0
    for name, weight in kept.trained_state().items():
        torch.testing.assert_close(run_again.trained_state()[name], weight, rtol=1e-4, atol=1e-6)
        moved = max(moved, float((weight - start[name]).abs().max()))
    assert moved > 1e-3
    assert [point.keys() for point in again_curves] == [point.keys() for point in kept_curves]
    for mine, theirs in zip(again_curves, kept_curves, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def curves(folder: Path) -> list[dict[str, float]]:
    """Points of the history without what the clock decides."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    timed = ("seconds", "time", "per_second", "memory")
    return [
        {key: value for key, value in point.items() if value is not None and not any(word in key for word in timed)}
        for point in lines
    ]
