"""Training several sites: they come in shuffled rounds, one pass for all of them, and a kill that costs nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from nlae.activations import ActivationStore, Descriptions, Rows, ShardList, fit_statistics, write_shard
from nlae.activations.datamodule import ActivationDataModule
from nlae.activations.order import draw_sites
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.model.schedule import Schedule
from nlae.rollout import LocalRollout
from nlae.tracking import NullRun
from nlae.training import Reinforce, validation_set
from nlae.training.callbacks import Resume
from nlae.training.fit import fit
from nlae.training.resuming import resume_update
from nlae.training.reward import Fidelity, Reward

NAMES = ("mlp_in.0", "mlp_neurons.0", "mlp_in.2", "mlp_neurons.2")
UPDATES = 5


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    number = np.arange(96)
    document = number // 4
    ids = np.random.default_rng(0).integers(10, 300, (96, 16))
    for place, name in enumerate(NAMES):
        width = 96 if name.startswith("mlp_neurons") else 32
        generator = torch.Generator().manual_seed(place)
        centre_ED = unit(torch.randn(6, width, generator=generator))
        hidden_ND = 5 * (centre_ED[document % 6] + 0.3 * unit(torch.randn(96, width, generator=generator)))
        rows = Rows(
            row=number,
            document=document,
            position=np.full(96, 15),
            token_id=ids[:, -1],
            source=[f"w{d}" for d in document],
            split=["test" if d < 3 else "val" if d < 8 else "train" for d in document],
            context_ids=ids.tolist(),
            activation=hidden_ND.numpy(),
            resid_norm=np.full(96, 5.0, np.float32),
        )
        shard = write_shard(folder / "store" / name, "s.arrow", rows, "float32")
        fit_statistics(folder / "store" / name, ShardList("p", name, 8, width, "float32", (shard,), 1))
    words = ("a cat", "the town", "rain", "people", "book", "river")
    Descriptions.write(folder / "texts", number.tolist(), [words[d % 6] for d in document])
    return folder


def serve(world: Path, view: str, start: int = 0, updates: int = UPDATES, **how: Any) -> ActivationDataModule:
    data = ActivationDataModule(
        store=world / "store",
        sites=NAMES,
        view=view,
        seed=0,
        stage="rollout" if view == "rollout" else "warmstart",
        max_updates=updates,
        start_update=start,
        batch_size=6,
        descriptions=None if view == "rollout" else world / "texts",
        disjoint_documents=False,
        validation_sites=2,
        validation_rows=16,
        **how,
    )
    data.setup()
    return data


def test_every_site_gets_its_turn_and_all_hold_the_same_rows(world):
    written = list(serve(world, "verbalizer", updates=8).train_dataloader())
    assert Counter(item.site for item in written) == dict.fromkeys(NAMES, 2)
    assert [item.site for item in written] != [*NAMES, *NAMES]
    data = serve(world, "reconstructor", updates=8, reader_sites=3)
    items = list(data.train_dataloader())
    assert {len(item.activations) for item in items} <= {2, 3}
    for item in items:
        for name, activation_BD in item.activations.items():
            rows = ActivationStore.open(world / "store" / name).split("train")
            wanted_BD = rows.activations(np.searchsorted(rows.row, item.row_B.numpy()))
            assert torch.equal(activation_BD, wanted_BD)
    assert draw_sites(NAMES, 9, seed=0, stage="s", update=3) == list(NAMES)
    assert list(data.validation) == ["mlp_in.0", "mlp_neurons.2"]


class Kill(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if pl_module.update == 3:
            raise InterruptedError("killed")


def tuned(module, updates: int, lr: float):
    module.schedule, module.last, module.lr, module.validate_every = Schedule(updates, warmup=1), updates, lr, 10**6
    return module


def begin(kind: str, several: Autoencoder, world: Path, start: int):
    data = serve(world, kind, start)
    if kind == "rollout":
        module = Reinforce(
            several,
            engine=LocalRollout(),
            reward=Reward({"fidelity": Fidelity()}),
            samples=2,
            updates=UPDATES,
            verbalizer_lr=1e-3,
            reconstructor_lr=2e-3,
            warmup=1,
            validate_every=10**6,
        )
    else:
        module = tuned(getattr(several, kind), UPDATES, 2e-3)
    texts = Descriptions.open(world / "texts")
    module.validation = {name: validation_set(rows, texts) for name, rows in data.validation.items()}
    return module, data


HEADLINES = {"rollout": "val/fve", "verbalizer": "val/nll", "reconstructor": "val/fve_teacher"}


@pytest.mark.parametrize("kind", sorted(HEADLINES))
def test_killed_and_resumed_it_ends_in_the_same_weights(make_autoencoder, world, tmp_path, kind):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    reference, data = begin(kind, make_autoencoder(magnitude=True), world, 0)
    fit(reference, data, whole, run=NullRun(), callbacks=[Resume(2)])
    assert {f"{HEADLINES[kind]}{site}" for site in ("", "/mlp_in.0", "/mlp_neurons.2")} <= reference.metrics.keys()
    module, data = begin(kind, make_autoencoder(magnitude=True), world, 0)
    with pytest.raises(InterruptedError):
        fit(module, data, killed, run=NullRun(), callbacks=[Resume(2), Kill()])
    again, data = begin(kind, make_autoencoder(magnitude=True), world, resume_update(killed))
    fit(again, data, killed, run=NullRun(), callbacks=[Resume(2)])
    wanted, found = reference.trained_state(), again.trained_state()
    assert wanted.keys() == found.keys()
    for name, weight in wanted.items():
        assert torch.equal(weight, found[name]), name
    assert again.metrics == reference.metrics


def test_the_readers_gradient_is_the_mean_over_sites_read_apart(make_autoencoder, world):
    """One pass for all sites, in micro-batches, against each site's own loss."""
    several = make_autoencoder(magnitude=True)
    batch = serve(world, "reconstructor").item(0)
    parameters = several.reconstructor.trainable()

    def gradients(backward) -> list[torch.Tensor]:
        for parameter in parameters:
            parameter.grad = None
        backward()
        # behind the deepest hook nothing is reached
        return [torch.zeros(1) if p.grad is None else p.grad.clone() for p in parameters]

    several.reconstructor.micro_tokens = 40
    several.reconstructor.manual_backward = lambda loss: loss.backward()
    found = gradients(lambda: several.reconstructor.reconstruction_loss(batch.activations, batch.explanation))

    def apart() -> None:
        total = torch.zeros(())
        for name, activation_BD in batch.activations.items():
            view = several.at(name)
            predicted_BD, log_norm_B = view.reconstructor(batch.explanation)
            error = (predicted_BD - unit(activation_BD)).pow(2).sum(-1).mean()
            truth_B = (activation_BD.norm(dim=-1) / view.statistics.norm_median).log()
            total = total + error + 0.1 * (log_norm_B - truth_B).pow(2).mean()
        (total / len(batch.activations)).backward()

    assert sum(float(gradient.abs().sum()) > 0 for gradient in found) > 12
    for one, other in zip(found, gradients(apart), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["verbalizer", "reconstructor"])
def test_the_loss_falls(make_autoencoder, world, name):
    module = tuned(getattr(make_autoencoder(learned=False), name), 40, 4e-3)
    optimizers = module.configure_optimizers()
    module.optimizers = lambda: optimizers
    module.manual_backward = lambda loss: loss.backward()
    seen = []
    for index, item in enumerate(serve(world, name, updates=40).train_dataloader()):
        module.training_step(item, index)
        seen.append(module.metrics["verbalizer/nll" if name == "verbalizer" else "reconstructor/error"])
    assert np.mean(seen[-8:]) < 0.8 * np.mean(seen[:8])
