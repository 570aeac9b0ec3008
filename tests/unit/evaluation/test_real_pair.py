"""The same suite on a real, untrained pair of a tiny random model: every part runs on real weights and tokens."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from measured import evaluation
from nlae.activations import ActivationStore, Descriptions, Rows, ShardList, fit_statistics, write_shard
from nlae.evaluation import Evaluation
from nlae.evaluation.measures import Cross, KeptRefit
from nlae.evaluation.quotes import QuoteBatches, quote, read_frozen, start_token
from nlae.functional.scaling import unit
from nlae.model.prompt import Prompt
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.rewording import Truncation, WordShuffle
from nlae.target import Site, Target, Trunk
from nlae.target.tiny import TinyTarget
from pairs import autoencoder

PROMPT = Prompt(
    name="test",
    verbalizer="What does {slot} say?",
    reconstructor="Text: {explanation}\nMeaning:",
    text="",
    max_tokens=6,
)
WORKS, PER_WORK, LENGTH = 99, 3, 40


@pytest.fixture(scope="module")
def target() -> Target:
    return TinyTarget(layers=2, width=32, vocabulary=400).load()


@pytest.fixture(scope="module")
def store(target: Target, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    site, folder = Site(layer=1).resolve(2), tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    trunk = Trunk(target.model, site)
    # five ids end the contexts, so that every row has others with its last token
    ids = rng.integers(10, 300, (WORKS * PER_WORK, LENGTH))
    ids[:, -1] = 20 + np.arange(len(ids)) % 5
    with torch.no_grad():
        hidden = trunk(input_ids=torch.from_numpy(ids))[:, -1].float().numpy()
    number = np.arange(len(ids))
    rows = Rows(
        row=number,
        document=number // PER_WORK,
        position=np.full(len(ids), LENGTH - 1),
        token_id=ids[:, -1],
        source=[f"w{n // PER_WORK}" for n in number],
        split=[("train", "test", "val")[n // PER_WORK % 3] for n in number],
        context_ids=[line.tolist() for line in ids],
        activation=hidden,
        resid_norm=np.linalg.norm(hidden, axis=1),
    )
    shard = write_shard(folder, "shard-00000.arrow", rows, "float32")
    fit_statistics(folder, ShardList("plan", "resid.1", 4, 32, "float32", (shard,), 1))
    return ActivationStore.open(folder)


@pytest.fixture(scope="module")
def pair(target: Target, store: ActivationStore) -> SiteAutoencoder:
    return autoencoder(target, Site(layer=1).resolve(2), store.statistics, PROMPT, max_tokens=96).at()


def test_the_whole_suite(pair: SiteAutoencoder, store: ActivationStore, tmp_path: Path) -> None:
    test = store.split("test")
    texts = Descriptions(
        {int(row): quote(pair.target.tokenizer, test.context_ids(i), 4) for i, row in enumerate(test.row)}
    )
    changes = {
        "no_injection": {"samples": 4},
        "frontier": {"updates": 4, "batch_size": 8, "lr": 1e-3},
        "matching": {"rows": 8},
    }
    measured = evaluation(changes, max_rows=60, fit_rows=8, resamples=50)
    metrics = measured(pair, store, tmp_path, descriptions=texts)
    names = ["fve", "fve_greedy", "fve_calibrated", "raw_r2", "control/teacher", "control/no_injection", "frontier/fve"]
    names += [f"frontier/quote_{n}{kind}" for n in (1, 2, 4, 8, 16, 32) for kind in ("", "_frozen")]
    names += ["match/lm", "match/reader"]
    for name in names:
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"], name
    # 32 of 40 tokens, read by the very trunk that made the activation, say nearly all of it
    assert metrics["frontier/quote_32_frozen"] > metrics["frontier/quote_1_frozen"]
    assert metrics["frontier/quote_32_frozen"] > 0.5
    assert metrics["tokens_mean"] > metrics["explanation_tokens_mean"] > 0
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert len(rows) == metrics["rows"] == 60
    points = json.loads((tmp_path / "frontier.json").read_text())["points"]
    lengths = [point["tokens"] for point in points if point["name"] == "quote"]
    assert lengths == sorted(lengths)


def test_readers_that_are_fitted_anew(pair: SiteAutoencoder, store: ActivationStore, tmp_path: Path) -> None:
    """Real fits, a few updates each: every figure is there, and the pair's own reader is what it was."""
    budget: dict[str, Any] = {"rows": 40, "updates": 3, "batch_size": 8, "lr": 1e-3}
    other = TinyTarget(family="gpt2", layers=2, width=16, heads=2, vocabulary=300)
    measures = {
        "kept_refit": KeptRefit({"word_shuffle": WordShuffle(), "half": Truncation(share=0.5)}, **budget),
        "cross": Cross(lens_words=4, other_base=other, **budget),
    }
    before = pair.reconstruct(["a river town"])
    metrics = Evaluation(measures, max_rows=60, fit_rows=8, resamples=50)(pair, store, tmp_path)
    names = ["refit/fve", "refit/word_shuffle", "cross/reader", "cross/reader_null", "cross/lens", "cross/other_base"]
    names += ["cross/reader_gap", "cross/lens_gap", "cross/other_base_gap"]
    for name in names:
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"], name
    # an untrained pair says nothing that is worth keeping
    assert {"kept_refit/word_shuffle", "kept_refit/half", "cross/reader_kept"} <= metrics.keys()
    assert torch.equal(pair.reconstruct(["a river town"]), before)
    words = pl.read_parquet(tmp_path / "rows.parquet")["lens"].to_list()
    assert all(1 <= len(text.split(", ")) <= 4 for text in words)
    assert len(set(words)) > 10
    # what the reader makes of no text is read, not looked up
    constant_D = pair.statistics.constant_D
    assert torch.allclose(pair.read_empty().norm(), torch.tensor(1.0), atol=1e-5)
    assert not torch.allclose(pair.read_empty(), constant_D, atol=1e-2)
    assert torch.allclose(pair.reconstruct([""])[0], constant_D, atol=1e-5)


def test_the_frozen_reader_reads_a_start_token_and_the_quote(pair: SiteAutoencoder, store: ActivationStore) -> None:
    ids = store.split("test").context_ids(0)[-4:]
    found = read_frozen(pair, [ids, ids], batch_size=2, name="x")
    start = start_token(pair.target.tokenizer)
    expected = unit(pair.activations([[start, *ids]])[0][-1:])
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert torch.allclose(found[0], found[1])


def test_without_bos_the_start_token_is_a_newline() -> None:
    @dataclasses.dataclass
    class NoBos:
        bos_token_id: int | None = None

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            assert not add_special_tokens
            return [3, 7] if text == "\n" else []

    assert start_token(NoBos()) == 7
    assert start_token(NoBos(bos_token_id=2)) == 2


def test_quotes_are_a_function_of_the_update_and_of_all_lengths(pair: SiteAutoencoder, store: ActivationStore) -> None:
    rows = store.split("train", early=False)
    one, two = (QuoteBatches(rows, pair.target.tokenizer, 32, 16, seed=0) for _ in range(2))
    assert one.texts(5) == two.texts(5)
    assert one.texts(5) != one.texts(6)
    assert torch.equal(one.activations(5), rows.activations(one.indices(5)))
    whole = {quote(pair.target.tokenizer, rows.context_ids(int(i)), 32) for i in one.indices(5)}
    assert all(any(text.endswith(part) for text in whole) for part in one.texts(5))
    assert len({len(text) for update in range(4) for text in one.texts(update)}) > 20
