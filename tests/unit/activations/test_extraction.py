"""What is stored is what the full model computes, however it was batched and however often it was killed."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from invented import Invented
from nlae.activations import ActivationStore, extraction
from nlae.activations.extraction import extract
from nlae.corpus import Corpus, build_corpus
from nlae.corpus.plan import make_plan
from nlae.errors import NlaeError
from nlae.target import Site, Sites, TinyTarget, capture, read_sites


@pytest.fixture(scope="module")
def target():
    return TinyTarget(layers=3).load()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, target):
    folder = tmp_path_factory.mktemp("corpus")
    build_corpus(Invented(max_tokens=64, min_tokens=8), target.tokenizer, folder)
    return Corpus.open(folder)


@pytest.mark.parametrize("site", [Site(layer=1), Site("mlp_out", layer=2), Site("mlp_neurons", layer=1)])
def test_rows_equal_the_full_model_read_one_by_one(tmp_path, target, corpus, site):
    metrics = extract(target, site, corpus, tmp_path, batch_tokens=512, shard_rows=40, dtype="float32")
    store = ActivationStore.open(tmp_path)
    assert len(store) == len(corpus.rows) == metrics["rows"]
    for split in ("train", "val", "test"):
        rows = store.split(split)
        assert rows.row.tolist() == np.flatnonzero(corpus.rows.split == split).tolist()
        for index in range(0, len(rows), 7):
            row = int(rows.row[index])
            ids = torch.tensor([corpus.context_ids(row)])
            block = Site(layer=site.layer)
            with torch.no_grad(), capture(target.model, site) as seen, capture(target.model, block) as residual:
                target.model(ids)
            expected = seen.values[0][0, -1]
            torch.testing.assert_close(rows.activations([index])[0], expected, rtol=1e-4, atol=1e-4)
            assert rows.resid_norm[index] == pytest.approx(float(residual.values[0][0, -1].norm()), rel=1e-4)
            assert rows.context_ids(index) == corpus.context_ids(row)[-64:]
            assert rows.source[index] == corpus.source[int(corpus.rows.document[row])]
            assert rows.token_id[index] == corpus.rows.token_id[row]


def test_padding_changes_nothing(tmp_path, target, corpus):
    site = Site(layer=1)
    extract(target, site, corpus, tmp_path / "one", batch_tokens=1, dtype="float32")
    extract(target, site, corpus, tmp_path / "all", batch_tokens=100_000, dtype="float32")
    one, together = (ActivationStore.open(tmp_path / name).split("train") for name in ("one", "all"))
    torch.testing.assert_close(one.all(), together.all(), rtol=1e-5, atol=1e-5)


def test_plan_is_sorted_complete_and_within_budget(corpus):
    plan = make_plan(corpus, shard_rows=30)
    order = [document for shard in plan.shards for document in shard]
    assert sorted(order) == sorted(set(corpus.rows.document.tolist()))
    lengths = plan.length[order]
    assert (np.diff(lengths) <= 0).all()
    for number in range(len(plan.shards)):
        batches = list(plan.batches(number, 100))
        assert [d for batch in batches for d in batch] == list(plan.shards[number])
        assert all(len(batch) == 1 or len(batch) * plan.length[batch[0]] <= 100 for batch in batches)
    assert all(plan.length[d] == corpus.rows.position[corpus.rows.document == d].max() + 1 for d in order)


def shard_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.arrow"))}


def test_interrupted_run_goes_on_and_ends_with_the_same_shards(tmp_path, target, corpus, monkeypatch):
    site = Site(layer=1)
    extract(target, site, corpus, tmp_path / "whole", shard_rows=20)
    read, calls = extraction._read_shard, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(extraction, "_read_shard", failing)
    with pytest.raises(KeyboardInterrupt):
        extract(target, site, corpus, tmp_path / "cut", shard_rows=20)
    with pytest.raises(NlaeError, match="no finished activations"):
        ActivationStore.open(tmp_path / "cut")
    before = len(calls)
    extract(target, site, corpus, tmp_path / "cut", shard_rows=20)
    total = len(shard_bytes(tmp_path / "whole"))
    assert total > 4
    assert len(calls) - before == total - 2, "what was finished is not read again"
    assert shard_bytes(tmp_path / "cut") == shard_bytes(tmp_path / "whole")
    name = "statistics.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_only_a_damaged_shard_is_redone(tmp_path, target, corpus, monkeypatch):
    site = Site(layer=1)
    extract(target, site, corpus, tmp_path, shard_rows=20)
    before = shard_bytes(tmp_path)
    path = tmp_path / "shard-00001.arrow"
    path.write_bytes(path.read_bytes()[:100])
    calls = []
    read = extraction._read_shard
    monkeypatch.setattr(extraction, "_read_shard", lambda *a: calls.append(a[3]) or read(*a))
    extract(target, site, corpus, tmp_path, shard_rows=20)
    assert calls == [1]
    assert shard_bytes(tmp_path) == before


def test_shards_of_another_plan_are_not_taken_over(tmp_path, target, corpus):
    extract(target, Site(layer=1), corpus, tmp_path, shard_rows=20)
    first = shard_bytes(tmp_path)
    extract(target, Site(layer=0), corpus, tmp_path, shard_rows=20)
    assert shard_bytes(tmp_path) != first
    assert ActivationStore.open(tmp_path).site == "resid.0"


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from nlae.activations import extraction
    from nlae.corpus import Corpus
    from nlae.target import Site, TinyTarget
    rename = Path.replace
    def until_the_third(self, to):
        if Path(to).name == "shard-00002.arrow":
            os.kill(os.getpid(), signal.SIGKILL)  # it is written, and has not got its name yet
        return rename(self, to)
    Path.replace = until_the_third
    target, corpus = TinyTarget(layers=3).load(), Corpus.open(sys.argv[1])
    extraction.extract(target, Site(layer=1), corpus, Path(sys.argv[2]), shard_rows=20)
"""


def test_kill_9_in_the_middle_of_the_list(tmp_path, target):
    build_corpus(Invented(max_tokens=64, min_tokens=8), target.tokenizer, tmp_path / "corpus")
    corpus = Corpus.open(tmp_path / "corpus")
    extract(target, Site(layer=1), corpus, tmp_path / "whole", shard_rows=20)
    script = textwrap.dedent(KILLED)
    arguments = [sys.executable, "-c", script, str(tmp_path / "corpus"), str(tmp_path / "cut")]
    done = subprocess.run(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    whole = shard_bytes(tmp_path / "whole")
    assert list(shard_bytes(tmp_path / "cut")) == list(whole)[:2] != list(whole)
    assert list((tmp_path / "cut").glob(".*tmp"))
    metrics = extract(target, Site(layer=1), corpus, tmp_path / "cut", shard_rows=20)
    assert shard_bytes(tmp_path / "cut") == whole
    assert metrics["rows"] == len(corpus.rows)
    assert not list((tmp_path / "cut").glob(".*tmp"))


def test_too_short_documents_and_unknown_dtype(tmp_path, target, corpus):
    with pytest.raises(NlaeError, match=r"site\.min_position=100 .*latest position drawn"):
        extract(target, Site(layer=1, min_position=100), corpus, tmp_path)
    with pytest.raises(NlaeError, match=r"store\.dtype=bfloat16"):
        extract(target, Site(layer=1), corpus, tmp_path, dtype="bfloat16")
    assert not list(tmp_path.iterdir())


def test_a_layer_that_does_not_exist_is_refused(tmp_path, target, corpus):
    with pytest.raises(NlaeError, match=r"layer=9"):
        extract(target, Site(layer=9), corpus, tmp_path)


def test_failed_write_stops_and_keeps_what_was_finished(tmp_path, target, corpus, monkeypatch):
    write, calls = extraction.write_shard, []

    def full(*arguments):
        calls.append(1)
        if len(calls) > 2:
            raise NlaeError("cannot write: No space left on device")
        return write(*arguments)

    monkeypatch.setattr(extraction, "write_shard", full)
    with pytest.raises(NlaeError, match="No space left"):
        extract(target, Site(layer=1), corpus, tmp_path, shard_rows=20)
    assert len(shard_bytes(tmp_path)) == 2
    monkeypatch.undo()
    extract(target, Site(layer=1), corpus, tmp_path, shard_rows=20)
    assert len(ActivationStore.open(tmp_path)) == len(corpus.rows)


SEVERAL = Sites(["mlp_in", "mlp_neurons", "resid"], [0, 2])


def test_several_sites_are_read_in_one_pass_as_each_site_alone(tmp_path, target, corpus, monkeypatch):
    forwards = []
    monkeypatch.setattr("nlae.target.reading.read_sites", lambda *a, **k: forwards.append(1) or read_sites(*a, **k))
    metrics = extract(target, SEVERAL, corpus, tmp_path / "several", batch_tokens=512, dtype="float32")
    together = len(forwards)
    assert (metrics["sites"], metrics["width"]) == (6, 2 * (64 + 192 + 64))
    for site in SEVERAL.resolve(3).sites:
        forwards.clear()
        extract(target, site, corpus, tmp_path / site.name, batch_tokens=512, dtype="float32")
        assert len(forwards) == together
        mixed, alone = (
            ActivationStore.open(tmp_path / "several" / site.name),
            ActivationStore.open(tmp_path / site.name),
        )
        assert mixed.site == site.name
        assert metrics[f"alpha/{site.name}"] == pytest.approx(alone.statistics.alpha, rel=1e-5)
        for split in ("train", "test"):
            torch.testing.assert_close(mixed.split(split).all(), alone.split(split).all(), atol=1e-4, rtol=1e-4)


def test_several_that_were_killed_between_two_sites_ends_the_same(tmp_path, target, corpus, monkeypatch):
    write, calls = extraction.write_shard, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return write(*arguments)

    monkeypatch.setattr(extraction, "make_plan", lambda corpus, rows: make_plan(corpus, 20))
    extract(target, SEVERAL, corpus, tmp_path / "whole", shard_rows=20)
    monkeypatch.setattr(extraction, "write_shard", dying)
    with pytest.raises(KeyboardInterrupt):
        extract(target, SEVERAL, corpus, tmp_path / "cut", shard_rows=20)
    monkeypatch.setattr(extraction, "write_shard", write)
    extract(target, SEVERAL, corpus, tmp_path / "cut", shard_rows=20)
    for site in SEVERAL.resolve(3).sites:
        wanted = shard_bytes(tmp_path / "whole" / site.name)
        assert len(wanted) > 4
        assert shard_bytes(tmp_path / "cut" / site.name) == wanted
