"""A tiny world in which something can be learned: six endings, six texts, activations that tell them apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlae.activations import ActivationStore, Descriptions, Rows, ShardList, fit_statistics, write_shard
from nlae.activations.datamodule import ActivationDataModule
from nlae.functional.scaling import unit
from nlae.model.adapters import AdapterSettings
from nlae.model.autoencoder import Autoencoder
from nlae.model.learner import Learner
from nlae.model.schedule import Schedule
from nlae.model.validation import ValidationSet
from nlae.rollout import LocalRollout
from nlae.target import Site, Target, TinyTarget
from nlae.training import Reinforce, validation_set
from nlae.training.policy import GRPO, RLOO
from nlae.training.reward import Fidelity, Reward
from pairs import autoencoder

ENDINGS = ("a cat", "the town", "rain", "people", "book", "river")
HALVES = ("verbalizer", "reconstructor")
LENGTH, DOCUMENTS, PER_DOCUMENT = 16, 60, 4
ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {"policy_loss": GRPO()},
    "rloo": {"policy_loss": RLOO()},
    "frozen": {"control": "frozen"},
    "supervised": {"control": "supervised"},
}


@pytest.fixture(scope="session")
def source() -> TinyTarget:
    return TinyTarget(layers=2, width=32, vocabulary=400)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of activations and a teacher's texts; the ending of a document's contexts decides its text."""
    folder = tmp_path_factory.mktemp("world")
    number = np.arange(DOCUMENTS * PER_DOCUMENT)
    document = number // PER_DOCUMENT
    ids = np.random.default_rng(0).integers(10, 300, (len(number), LENGTH))
    ids[:, -1] = 20 + document % len(ENDINGS)
    # one direction for every ending, and some noise of its own for every row
    noise = torch.Generator().manual_seed(0)
    centre_ED = unit(torch.randn(len(ENDINGS), 32, generator=noise))
    noise_ND = unit(torch.randn(len(number), 32, generator=noise))
    hidden_ND = (8 * (centre_ED[document % len(ENDINGS)] + 0.4 * noise_ND)).numpy()
    rows = Rows(
        row=number,
        document=document,
        position=np.where(number % 11 == 0, 3, LENGTH - 1),
        token_id=ids[:, -1],
        source=[f"w{d}" for d in document],
        split=["test" if d < 6 else "val" if d < 15 else "train" for d in document],
        context_ids=ids.tolist(),
        activation=hidden_ND,
        resid_norm=np.linalg.norm(hidden_ND, axis=1),
    )
    shard = write_shard(folder / "store", "s.arrow", rows, "float32")
    fit_statistics(folder / "store", ShardList("p", "resid.1", 8, 32, "float32", (shard,), 1))
    Descriptions.write(folder / "texts", number.tolist(), [ENDINGS[d % len(ENDINGS)] for d in document])
    return folder


@pytest.fixture(scope="session")
def fresh(world: Path, source: TinyTarget, prompt: Any) -> Callable[..., Autoencoder]:
    def build(**settings: Any) -> Autoencoder:
        target: Target = source.load()
        given = {
            "verbalizer_adapter": AdapterSettings(8, 16.0),
            "reconstructor_adapter": AdapterSettings(4, 8.0),
            "max_tokens": 48,
            **settings,
        }
        meta = {"target": source.describe(), "base_checkpoint": "tiny"}
        store = ActivationStore.open(world / "store")
        short = dataclasses.replace(prompt, max_tokens=14)
        return autoencoder(target, Site(layer=1).resolve(2), store.statistics, short, meta=meta, **given)

    return build


def served(world: Path, view: str, updates: int, start: int = 0, **how: Any) -> ActivationDataModule:
    given = {
        "store": world / "store",
        "view": view,
        "seed": 0,
        "stage": "rollout" if view == "rollout" else "warmstart",
        "max_updates": updates,
        "start_update": start,
        "descriptions": None if view == "rollout" else world / "texts",
        "batch_size": 8,
        "disjoint_documents": False,
        **how,
    }
    data = ActivationDataModule(**given)
    data.setup()
    return data


@pytest.fixture(scope="session")
def serve(world: Path) -> Callable[..., ActivationDataModule]:
    return lambda view, updates, start=0, **how: served(world, view, updates, start, **how)


@pytest.fixture(scope="session")
def held_out(world: Path) -> dict[str, ValidationSet]:
    store = ActivationStore.open(world / "store")
    return {store.site: validation_set(store.split("val", early=False), Descriptions.open(world / "texts"))}


@pytest.fixture(scope="session")
def half() -> Callable[..., Any]:
    """One half of an autoencoder, ready for a short fit of its own."""

    def ready(name: str, pair: Autoencoder, updates: int, lr: float = 4e-3, **how: Any) -> Any:
        module: Any = getattr(pair, name)
        module.schedule, module.last, module.lr = Schedule(updates, warmup=5), updates, lr
        for key, value in {"validate_every": 10**6, **how}.items():
            setattr(module, key, value)
        return module

    return ready


@pytest.fixture(scope="session")
def reinforce() -> Callable[..., Reinforce]:
    def module(pair: Autoencoder, updates: int, lr: float = 1e-3, algorithm: str = "grpo", **how: Any) -> Reinforce:
        validation = how.pop("validation", None)
        given = {
            "engine": LocalRollout(),
            "reward": Reward({"fidelity": Fidelity()}),
            "samples": 4,
            "micro_tokens": 256,
            "kl": 0.01,
            **ALGORITHMS[algorithm],
            **how,
        }
        rates = {"verbalizer_lr": lr, "reconstructor_lr": lr, "warmup": 2, "decay": 0.5}
        made = Reinforce(pair, updates=updates, validate_every=10**6, **rates, **given)
        made.validation = validation
        return made

    return module


def run_updates(module: Learner, data: ActivationDataModule, each: Callable[[], None] | None = None) -> None:
    """The loop without Lightning's Trainer: what an update does, and nothing else."""
    module.train()
    optimizers = module.configure_optimizers()
    module.optimizers = lambda: optimizers  # type: ignore[method-assign]
    for part in (part for part in module.modules() if isinstance(part, Learner)):
        part.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign]
    for index, batch in enumerate(data.train_dataloader()):
        module.training_step(batch, index)
        if each is not None:
            each()


@pytest.fixture(scope="session")
def run() -> Callable[..., None]:
    return run_updates


@pytest.fixture(scope="session")
def warm(world: Path, fresh: Any, half: Any, serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a warm-started pair; all weights of its verbalizer are trained, since a random model has no use
    for an adapter of low rank."""
    folder, pair = tmp_path_factory.mktemp("warm"), fresh(verbalizer_adapter=None)
    for name in HALVES:
        run_updates(half(name, pair, 100), serve(name, 100, batch_size=16))
    pair.save(folder)
    return folder
