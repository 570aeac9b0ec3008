"""Plans over fake stages."""

from copy import deepcopy
from types import SimpleNamespace

import pytest

from fake_stages import CONFIG, Fake, Source
from nlae.pipeline import plan as plan_module
from nlae.pipeline import run as run_module
from nlae.pipeline.plan import Plan


@pytest.fixture
def fake(monkeypatch):
    fake = Fake()
    monkeypatch.setattr(plan_module, "stage_module", fake.module)
    monkeypatch.setattr(run_module, "stage_module", fake.module)
    return fake


@pytest.fixture
def make(monkeypatch, fake, tmp_path):
    outside = {"target": Source(), "corpus": SimpleNamespace(fingerprint=lambda: "text")}
    real = plan_module.build

    def build(node, where, **extra):
        return outside[where] if where in outside else real(node, where, **extra)

    monkeypatch.setattr(plan_module, "build", build)

    def make(changes=None, checkpoint=None, **sources):
        outside.update(sources)
        config = deepcopy(CONFIG)
        config["paths"]["artifacts"] = str(tmp_path / "artifacts")
        for path, value in (changes or {}).items():
            node = config
            *parents, last = path.split(".")
            for part in parents:
                node = node[part]
            node[last] = value
        return Plan(config, checkpoint)

    return make
