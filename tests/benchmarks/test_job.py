"""Sizes, floors, works by name, the order of rounds, growth: what can be wrong without any model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from experiments.benchmarks import floors
from experiments.benchmarks.catalogue import WORKS, chosen
from experiments.benchmarks.growth import slope
from experiments.benchmarks.job import TINY, Job, Sizes
from experiments.benchmarks.run import _turned

ROOT = Path(__file__).parents[2]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    sizes = Sizes(documents=2, length=5, rows=4, new_tokens=3, write_rows=2, read_rows=2, activations=2, samples=2)
    return Job(
        folder=str(tmp_path), model="m", model_folder="", random_weights=False, device="cpu", dtype="float32",
        threads=1, layer=1, sizes=sizes, document_ids=[[1] * 5] * 64, places=[(0, 4), (1, 4)], verbalizer="",
        reconstructor="", prompt_text="", prefix_ids=[1, 2, 3], slot_id=9, suffix_ids=[4], explanations=["a", "b"],
        response_ids=[[1, 2], [1, 2, 3]], scale=1.0, shapes={"trunk": 100, "read": 60, "head": 10},
    )  # fmt: skip


def test_floors_follow_from_tokens_and_parameters(job: Job) -> None:
    assert floors.extraction(job) == 2 * 60 * 10
    # 3 prefix tokens, 4 rows of slot and suffix, then 4 × 3 new tokens with the head
    assert floors.rollout(job) == 2 * 100 * (3 + 4 * 2) + 2 * 110 * 12
    # 3 prefix tokens, 2 × 2 of slot and suffix, 5 of responses
    assert floors.verbalizer_sft(job) == 4 * 100 * (3 + 4 + 5) + 4 * 10 * 5
    assert floors.reconstructor_sft(job) == 4 * 60 * 5
    assert floors.rl_step(job) == (
        2 * 100 * (3 + 2 * 2) + 2 * 110 * 12 + 6 * (100 * (3 + 4 + 12) + 10 * 12) + 4 * 60 * 12
    )
    assert floors.evaluation(job) == floors.rollout(job) + 2 * 60 * 12


def test_every_work_has_a_floor_and_our_side_and_every_peer_its_pins() -> None:
    here = ROOT / "experiments" / "benchmarks"
    assert sorted(floors.FLOORS) == sorted(WORKS)
    for work in WORKS.values():
        assert "def ours(" in (here / "works" / f"{work.name}.py").read_text()
        for peer in work.peers:
            module, _, function = peer.entry.partition(":")
            assert f"def {function}(" in (here / "peers" / f"{module}.py").read_text()
            if peer.environment != "ours":
                pins = (here / "peers" / f"{peer.environment}.txt").read_text().split()
                assert all("==" in pin for pin in pins)


def test_job_survives_its_file(job: Job) -> None:
    assert Job.load(job.save()) == job


def test_sizes_can_be_set_by_name() -> None:
    assert TINY.with_overrides(["rows=3", "length=7"]) == dataclasses.replace(TINY, rows=3, length=7)
    for wrong in ("row=3", "rows=x", "rows"):
        with pytest.raises(SystemExit, match="--set"):
            TINY.with_overrides([wrong])


def test_works_are_chosen_by_name() -> None:
    assert [work.name for work in chosen("rollout, extraction")] == ["rollout", "extraction"]
    assert len(chosen(None)) == len(WORKS)
    with pytest.raises(SystemExit, match="no such work: speed"):
        chosen("speed")


def test_rounds_begin_with_someone_else() -> None:
    assert [_turned(["a", "b", "c"], n) for n in range(3)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]
    assert _turned([], 2) == []


def test_slope_is_taken_where_fixed_costs_weigh_least() -> None:
    sizes = [1, 2, 4, 8, 16]
    assert slope(sizes, [3.0 * n for n in sizes]) == pytest.approx(1.0)
    assert slope(sizes, [3.0 * n**2 for n in sizes]) == pytest.approx(2.0)
    assert slope(sizes, [100, 100, 4, 8, 16]) == pytest.approx(1.0)
