"""Batches depend on (seed, stage, update) and on nothing else."""

import dataclasses

import numpy as np
import pytest
import torch

from nlae.activations import ActivationStore, Descriptions, Rows, ShardList, fit_statistics, write_shard
from nlae.activations.datamodule import ActivationDataModule
from nlae.activations.order import batch_rows, split_documents
from nlae.errors import NlaeError

WIDTH = 4


@pytest.fixture
def store(tmp_path):
    n = 120
    number = np.arange(n)
    rows = Rows(
        row=number,
        document=number // 3,
        position=np.where(number % 10 == 0, 2, 20 + number),
        token_id=number % 7,
        source=[f"work{i // 6}" for i in number],
        split=["train" if i < 80 else "val" if i < 100 else "test" for i in number],
        context_ids=[[1, 2]] * n,
        activation=np.random.default_rng(0).standard_normal((n, WIDTH)).astype(np.float32),
        resid_norm=np.ones(n, np.float32),
    )
    folder = tmp_path / "store"
    listing = ShardList("p", "resid.1", 8, WIDTH, "float32", (), 1)
    fit_statistics(folder, dataclasses.replace(listing, shards=(write_shard(folder, "s.arrow", rows, "float32"),)))
    Descriptions.write(tmp_path / "texts", [i for i in number if i % 9], [f"text {i}" for i in number if i % 9])
    return tmp_path


def module(folder, **settings):
    defaults = {"store": folder / "store", "view": "rollout", "seed": 0, "stage": "reinforce", "max_updates": 6}
    return ActivationDataModule(**{**defaults, "batch_size": 8, **settings})


def test_each_epoch_is_a_permutation():
    seen = np.concatenate([batch_rows(10, seed=1, stage="a", update=u, batch_size=4) for u in range(5)])
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert not np.array_equal(seen[:10], seen[10:])


def test_order_depends_on_seed_and_stage_only():
    one = batch_rows(50, seed=1, stage="a", update=7, batch_size=16)
    assert np.array_equal(one, batch_rows(50, seed=1, stage="a", update=7, batch_size=16))
    for other in ({"seed": 2}, {"stage": "b"}, {"update": 8}):
        assert not np.array_equal(one, batch_rows(50, **{"seed": 1, "stage": "a", "update": 7, **other}, batch_size=16))


def test_batch_larger_than_the_data_repeats_epochs():
    assert len(batch_rows(3, seed=0, stage="a", update=0, batch_size=8)) == 8


def test_resume_serves_the_same_batches(store):
    whole = list(module(store).train_dataloader())
    late = list(module(store, start_update=4).train_dataloader())
    assert [batch.update for batch in whole] == list(range(6))
    assert [batch.update for batch in late] == [4, 5]
    for left, right in zip(whole[4:], late, strict=True):
        assert torch.equal(left.row_B, right.row_B)
        assert torch.equal(left.activation_BD, right.activation_BD)


def test_rollout_view_has_late_training_rows_without_text(store):
    rows = ActivationStore.open(store / "store").split("train")
    for batch in module(store).train_dataloader():
        assert batch.explanation is None
        assert (batch.row_B < 80).all()
        assert (batch.row_B % 10 != 0).all()
        assert torch.equal(batch.activation_BD, rows.activations(batch.row_B))
        assert torch.equal(batch.token_id_B, batch.row_B % 7)


def test_rollout_view_with_descriptions_has_text(store):
    for batch in module(store, descriptions=store / "texts").train_dataloader():
        assert batch.explanation == [f"text {row}" for row in batch.row_B.tolist()]


def test_the_halves_views_split_documents_between_them(store):
    seen, shared = {"verbalizer": set(), "reconstructor": set()}, []
    for name, rows in seen.items():
        how = {"view": name, "stage": "warmstart", "descriptions": store / "texts"}
        for batch in module(store, batch_size=5, **how).train_dataloader():
            assert len(batch) == 5
            assert batch.explanation == [f"text {row}" for row in batch.row_B.tolist()]
            rows |= set((batch.row_B // 3).tolist())
        joint = module(store, disjoint_documents=False, **how)
        joint.setup()
        shared.append(len(joint.streams[name]["resid.1"]))
    assert not seen["verbalizer"] & seen["reconstructor"]
    assert shared[0] == shared[1]


def test_validation_is_fixed_and_has_text(store):
    def chosen() -> list[int]:
        data = module(store, view="verbalizer", descriptions=store / "texts", validation_rows=10)
        data.setup()
        return data.validation["resid.1"].row.tolist()

    rows = chosen()
    assert len(set(rows)) == 10
    assert all(80 <= row < 100 and row % 9 and row % 10 for row in rows), "of the validation split, with a text"
    assert chosen() == rows


def test_disjoint_halves_cover_everything(store):
    rows = ActivationStore.open(store / "store").split("train")
    first, second = split_documents(rows, seed=3)
    assert sorted([*first.row, *second.row]) == rows.row.tolist()
    assert abs(len(first) - len(second)) <= 6


def test_missing_texts_are_an_error(store):
    with pytest.raises(NlaeError, match="nlae describe"):
        module(store, view="verbalizer").setup()
    Descriptions.write(store / "none", [], [])
    with pytest.raises(NlaeError, match="no rows left for the verbalizer"):
        module(store, view="verbalizer", descriptions=store / "none").setup()


def test_batch_moves_as_lightning_moves_it(store):
    from pytorch_lightning.utilities import move_data_to_device

    batch = next(iter(module(store).train_dataloader()))
    assert move_data_to_device({"x": batch}, torch.device("cpu"))["x"].update == batch.update
