"""On a GPU the host does not wait at every step: counted on the pretend device, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks.waits import ROOT, WORKS, count, rows
from pretend_cuda.guard import missing


@pytest.mark.slow
@pytest.mark.parametrize("work", list(WORKS))
def test_no_wait_for_a_decoding_step_and_at_most_one_for_a_micro_batch_or_an_update(tmp_path: Path, work: str) -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    found = {(row["stage"], row["activity"]): row for row in rows(count(ROOT, WORKS[work], tmp_path))}
    halves = ("verbalizer", "reconstructor")
    stages = (*halves, "reinforce") if work == "one site" else halves
    for stage in stages:
        learns = {"verbalizer": ["sft"], "reconstructor": ["regress"], "reinforce": ["improve", "regress"]}[stage]
        if stage == "reinforce":
            assert found[stage, "local step"]["count"] > 5
            assert found[stage, "local step"]["per_unit"] == 0
            assert found[stage, "local look"]["per_unit"] <= 1
        assert found[stage, "optimizer"]["per_unit"] <= 1, "all figures of an update are read at once"
        for part in learns:
            updates = found[stage, "optimizer"]["count"]
            assert found[stage, part]["count"] > updates, "micro-batches, or this says nothing about them"
            assert found[stage, part]["per_unit"] <= 1
