"""The store gives back what went in, in row order, and names what is damaged."""

import dataclasses
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from nlae.activations import ActivationStore, Descriptions, Rows, ShardList, fit_statistics, write_shard
from nlae.errors import NlaeError
from nlae.files.arrow import replacing, write_text


def make_rows(numbers, width=6, scale=1.0, seed=0):
    rng = np.random.default_rng([seed, *numbers[:1]])
    numbers = np.asarray(numbers, dtype=np.int64)
    return Rows(
        row=numbers,
        document=numbers // 2,
        position=numbers % 2 * 20,
        token_id=numbers + 100,
        source=[f"work{number // 4}" for number in numbers],
        split=[("train", "val", "test")[number // 4 % 3] for number in numbers],
        context_ids=[list(range(number % 5 + 1)) for number in numbers],
        activation=(rng.standard_normal((len(numbers), width)) * scale).astype(np.float32),
        resid_norm=(1.0 + np.arange(len(numbers))).astype(np.float32),
    )


def make_store(folder, shards, dtype="float16", width=6):
    listing = ShardList("plan", "resid.3", 8, width, dtype, (), len(shards))
    for index, rows in enumerate(shards):
        entry = write_shard(folder, f"shard-{index:05d}.arrow", rows, dtype)
        listing = dataclasses.replace(listing, shards=(*listing.shards, entry))
    fit_statistics(folder, listing)
    return listing


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_raw_vectors_come_back_in_row_order(tmp_path, dtype):
    shards = [make_rows([7, 0, 3, 12]), make_rows([1, 2, 13, 14, 24])]
    make_store(tmp_path, shards, dtype)
    truth = {int(n): v for rows in shards for n, v in zip(rows.row, rows.activation, strict=True)}
    rows = ActivationStore.open(tmp_path).split("train")
    assert rows.row.tolist() == [0, 1, 2, 3, 12, 13, 14, 24]
    expected = np.stack([truth[n] for n in rows.row])
    tolerance = 2e-3 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(rows.all().numpy(), expected, rtol=0, atol=tolerance * 5)
    assert torch.equal(rows.activations([5, 0]), rows.all()[[5, 0]])
    assert rows.token_id.tolist() == [n + 100 for n in rows.row]
    assert rows.source[-1] == "work6"
    assert rows.context_ids(3) == list(range(4))
    assert rows.early.tolist() == [n % 2 * 20 < 8 for n in rows.row]
    assert rows.select(~rows.early).row.tolist() == [1, 3, 13]
    assert ActivationStore.open(tmp_path).split("train", early=True).row.tolist() == [0, 2, 12, 14, 24]


def test_float16_does_not_overflow_on_huge_norms(tmp_path):
    rows = make_rows(range(4), scale=1e6)
    make_store(tmp_path, [rows])
    got = ActivationStore.open(tmp_path).split("train").all().numpy()
    assert np.abs(rows.activation).max() > np.finfo(np.float16).max
    np.testing.assert_allclose(got, rows.activation, rtol=2e-2, atol=2e3)


def test_zero_vector_stays_zero_and_nan_is_refused(tmp_path):
    rows = make_rows(range(4))
    rows.activation[1] = 0
    make_store(tmp_path, [rows])
    assert ActivationStore.open(tmp_path).split("train").all()[1].abs().sum() == 0
    rows.activation[2, 0] = np.inf
    with pytest.raises(NlaeError, match=r"row 2 .*not finite"):
        write_shard(tmp_path, "x.arrow", rows, "float16")
    assert not (tmp_path / "x.arrow").exists()


def test_statistics_use_only_late_training_rows(tmp_path):
    rows = make_rows(range(24))
    make_store(tmp_path, [rows], "float32")
    statistics = ActivationStore.open(tmp_path).statistics
    keep = (np.array(rows.split) == "train") & (rows.position >= 8)
    vectors = rows.activation[keep].astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(statistics.mean_D.numpy(), unit.mean(0), atol=1e-6)
    assert statistics.count == keep.sum()
    assert statistics.alpha == pytest.approx(np.quantile(rows.resid_norm[keep], 0.75))
    assert statistics.variance == pytest.approx(((unit - unit.mean(0)) ** 2).sum(1).mean(), abs=1e-5)


def test_only_early_positions_is_an_error(tmp_path):
    rows = dataclasses.replace(make_rows(range(4)), position=np.zeros(4, np.int64))
    with pytest.raises(NlaeError, match=r"site\.min_position=8"):
        make_store(tmp_path, [rows])


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damaged_shard_is_named_with_the_command_that_rebuilds(tmp_path, damage):
    make_store(tmp_path, [make_rows(range(8)), make_rows(range(8, 16))])
    path = tmp_path / "shard-00001.arrow"
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(NlaeError, match=r"shard-00001\.arrow .*nlae extract") as caught:
        ActivationStore.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_unfinished_or_foreign_folder(tmp_path):
    with pytest.raises(NlaeError, match="no finished activations"):
        ActivationStore.open(tmp_path)
    listing = make_store(tmp_path, [make_rows(range(8))])
    dataclasses.replace(listing, total=2).save(tmp_path)
    with pytest.raises(NlaeError, match="no finished activations"):
        ActivationStore.open(tmp_path)
    (tmp_path / "shards.json").write_text("{")
    with pytest.raises(NlaeError, match="damaged"):
        ActivationStore.open(tmp_path)


def test_descriptions_round_trip(tmp_path):
    Descriptions.write(tmp_path, [5, 2], ["five ünï", "two"])
    descriptions = Descriptions.open(tmp_path)
    assert descriptions.rows.tolist() == [2, 5]
    assert descriptions.text(5) == "five ünï"
    assert descriptions.get(7) == ""
    assert 2 in descriptions
    assert 3 not in descriptions
    assert len(descriptions) == 2
    with pytest.raises(NlaeError, match=r"descriptions\.arrow is missing.*nlae describe"):
        Descriptions.open(tmp_path / "nothing")


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def interrupted():
        with replacing(path) as temporary:
            temporary.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_leaves_nothing_half_written(tmp_path):
    script = """
        import resource, signal, sys
        from pathlib import Path
        import pyarrow as pa
        from nlae.errors import NlaeError
        from nlae.files.arrow import write_table
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            write_table(Path(sys.argv[1]) / "big.arrow", pa.table({"x": list(range(100_000))}))
        except NlaeError as problem:
            sys.stdout.write(str(problem))
            sys.exit(3)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    assert "big.arrow" in done.stdout
    assert "free some space" in done.stdout
    assert list(tmp_path.iterdir()) == []
