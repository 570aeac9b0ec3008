"""When memory runs out: one line that names what to lower; and the GPU's peak, stage by stage."""

import json

import pytest
import torch

from nlae.config.compose import compose_plain
from nlae.errors import NlaeError
from nlae.pipeline import memory, run
from nlae.pipeline.fingerprint import pick
from nlae.pipeline.run import bring_up_to_date

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB")


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("extract", "store.batch_tokens (now 100)"),
        ("describe", "teacher.batch_tokens (now 5)"),
        ("verbalizer", "set machine.checkpointing=true"),
    ],
)
def test_a_full_gpu_is_one_line_that_names_the_key_and_the_same_command_goes_on(make, fake, stage, key):
    fake.fail[stage] = FULL
    with pytest.raises(NlaeError) as caught:
        bring_up_to_date(make(), stage, "g")
    line = str(caught.value)
    assert line.startswith(f"{stage}: the GPU's memory is full; ")
    assert key in line
    assert "run the same command again: it goes on where it stopped" in line
    assert (make().artifact(stage).folder / "half.txt").exists()
    fake.fail.clear()
    lowered = {"store.batch_tokens": 1, "teacher.batch_tokens": 1}  # the very same stage
    assert bring_up_to_date(make(lowered), stage, "g").folder == make().artifact(stage).folder


def test_both_keys_of_reinforcement_are_named_and_what_is_done_already_is_not():
    config = compose_plain(["target=tiny", "trainer=gpu", "machine.checkpointing=true"]).config
    with pytest.raises(NlaeError) as caught, memory.named_when_full("reinforce", config):
        raise FULL
    line = str(caught.value)
    assert "lower objective.micro_tokens (now 4096), or lower rollout.batch_size (now chosen by" in line
    assert "checkpointing" not in line


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_full_machine_is_told_apart(error):
    told = pytest.raises(NlaeError, match="evaluate: this machine's memory is full; lower evaluation.batch_size")
    with told, memory.named_when_full("evaluate", {"evaluation": {"batch_size": 64}}):
        raise error


@pytest.mark.parametrize("text", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"])
def test_other_ways_of_saying_it_are_known_and_other_errors_pass(text):
    with pytest.raises(NlaeError, match="the GPU's memory is full"), memory.named_when_full("export", {}):
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="shapes"), memory.named_when_full("export", {}):
        raise RuntimeError("shapes do not fit")


def test_every_key_that_is_named_stands_in_the_shipped_configs():
    words = ["target=tiny", "teacher=local", "dictionary=judged_local"]
    plain = compose_plain(words).config
    context = compose_plain(["target=tiny", "teacher=context"]).config
    asked = {"dictionary.judge.batch_size"}  # a parameter of the judge, with a default
    for key in {key for keys in memory.KEYS.values() for key in keys} - asked:
        node, _, last = key.rpartition(".")
        assert last in (pick(plain, node) or {}) or last in (pick(context, node) or {}), key


def test_the_peak_of_the_gpu_stands_in_the_manifest_of_each_stage(make, fake, monkeypatch):
    held, calls = iter([5 << 30, 7 << 30]), []
    monkeypatch.setattr(run, "prepare", lambda config: calls.append("prepare"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: next(held))
    artifact = bring_up_to_date(make({"trainer.accelerator": "gpu"}), "extract", "g")
    assert json.loads((artifact.folder / "manifest.json").read_text())["peak_device_memory_bytes"] == 7 << 30
    assert calls == ["prepare", "reset"] * 2


def test_without_a_gpu_there_is_no_such_figure(make, fake):
    artifact = bring_up_to_date(make(), "corpus", "g")
    assert "peak_device_memory_bytes" not in json.loads((artifact.folder / "manifest.json").read_text())
