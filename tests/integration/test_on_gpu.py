"""What must hold on a GPU, piece by piece; without one, `test_device` runs this file on the pretend device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nlae.dictionary.judge.detection import Question
from nlae.dictionary.judge.local import LocalJudge
from nlae.model.adapters import AdapterSettings
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER, Backbone
from nlae.target import HubTarget, Site, Target, TinyTarget
from nlae.teacher import LocalTeacher

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
TINY = TinyTarget(layers=2, width=32, vocabulary=400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in a folder, as from the hub."""
    path = tmp_path_factory.mktemp("model")
    target = TINY.load()
    target.model.save_pretrained(path)
    target.tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def made_on(monkeypatch):
    """Where weights are made: the devices of all parameters at the time modules take them."""
    seen: set[str] = set()
    register = torch.nn.Module.register_parameter

    def noted(self, name, parameter):
        if parameter is not None:
            seen.add(parameter.device.type)
        register(self, name, parameter)

    monkeypatch.setattr(torch.nn.Module, "register_parameter", noted)
    return seen


def backbone_on(target: Target, adapter: AdapterSettings | None) -> Backbone:
    backbone = Backbone(target, [Site(layer=1).resolve(2)])
    for role in (VERBALIZER, RECONSTRUCTOR):
        backbone.add(role, adapter)
    return backbone


def test_a_folder_is_read_straight_to_the_device(folder, made_on):
    loaded = HubTarget(None, str(folder)).load(device=DEVICE)
    assert made_on <= {"meta", DEVICE}
    plain = TINY.load()
    for (name, there), (_, here) in zip(loaded.model.named_parameters(), plain.model.named_parameters(), strict=True):
        assert there.device.type == DEVICE
        assert torch.equal(there.cpu(), here), name


def test_a_whole_copy_is_made_on_the_device_and_equals_what_it_is_of(made_on):
    target = TINY.load(device=DEVICE)
    made_on.clear()
    backbone = backbone_on(target, None)
    assert made_on == {DEVICE}
    copied = backbone.full_verbalizer
    assert copied is not None
    for kind in ("named_parameters", "named_buffers"):
        pairs = zip(getattr(copied, kind)(), getattr(target.model, kind)(), strict=True)
        assert all(a.device == b.device and torch.equal(a, b) for (_, a), (_, b) in pairs)


def test_adapters_start_as_on_the_host_and_nobody_elses_numbers_change():
    here = backbone_on(TINY.load(), AdapterSettings(4, 8.0))
    target = TINY.load(device=DEVICE)
    torch.cuda.manual_seed_all(7)
    before = torch.cuda.get_rng_state()
    there = backbone_on(target, AdapterSettings(4, 8.0))
    assert torch.equal(torch.cuda.get_rng_state(), before)
    wanted = here.state("verbalizer")
    for name, weight in there.state("verbalizer").items():
        assert torch.equal(weight.cpu(), wanted[name]), name


def test_a_teacher_writes_there_and_reads_its_texts_once_for_each_batch(folder, monkeypatch):
    reads = []
    monkeypatch.setattr(torch.Tensor, "__iter__", lambda self: reads.append(1) or iter(self.unbind(0)))
    teacher = LocalTeacher(model=str(folder), device=DEVICE, max_tokens=6, max_failed_share=1.0, batch_size=4)
    teacher.prepare(SimpleNamespace(prompt=SimpleNamespace(text="What is it about?"), min_letters=12))
    texts: dict[int, str | None] = {}
    contexts = [SimpleNamespace(row=n, text=f"the rain in {n}", input_ids=[1] * n) for n in range(1, 6)]
    teacher.describe(contexts, texts.__setitem__)
    assert set(texts) == {1, 2, 3, 4, 5}
    assert len(reads) <= 2
    assert teacher._loaded is not None
    assert teacher._loaded[0].device.type == DEVICE


def test_a_judge_reads_there(tmp_path):
    judge = LocalJudge(model=TINY, device=DEVICE, batch_size=2)
    said = judge.odds([Question("rain in town", text) for text in ("it rains", "a cat", "people read")], tmp_path)
    assert said.shape == (3,)
    assert said.isfinite().all()
    assert judge.target.device.type == DEVICE
