"""Vectors spliced into a real, tiny target: the true one changes nothing, and everything else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlae.activations import ActivationStore, Rows, ShardList, fit_statistics, write_shard
from nlae.errors import NlaeError
from nlae.evaluation import Evaluation, EvaluationRecord
from nlae.evaluation.measures import Function
from nlae.evaluation.measures.function import vectors
from nlae.evaluation.quotes import QuoteReader
from nlae.evaluation.splicing import effects
from nlae.functional.scaling import unit
from nlae.model.prompt import Prompt
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.target import Site, Target, Trunk
from nlae.target.tiny import TinyTarget
from pairs import autoencoder

PROMPT = Prompt(
    name="test", verbalizer="What does {slot} say?", reconstructor="{explanation}\nMeaning:", text="", max_tokens=4
)
WORKS, LENGTH = 150, 24
SITES = ["resid", "mlp_out", "mlp_neurons"]


class Passages:
    """One passage a row, of unequal lengths, as much of a corpus as the measure asks for."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.ids = [rng.integers(10, 300, int(n)).tolist() for n in rng.integers(9, LENGTH, WORKS)]

    def context_ids(self, row: int) -> list[int]:
        return self.ids[row][:-1]

    def next_id(self, row: int) -> int | None:
        return None if row % 10 == 1 else self.ids[row][-1]


class AsPredicted(Passages):
    """Each text goes on as the target expects, so that its activation is worth something."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def next_id(self, row: int) -> int | None:
        return int(self.target.next_token_logits([self.context_ids(row)]).argmax())


@pytest.fixture(scope="module")
def target() -> Target:
    return TinyTarget(layers=3, width=32, vocabulary=400).load()


def stored(target: Target, kind: str, folder: Path) -> ActivationStore:
    site, corpus = Site(kind=kind, layer=1).resolve(3), Passages()
    trunk = Trunk(target.model, site)
    contexts = [corpus.context_ids(row) for row in range(WORKS)]
    with torch.no_grad():
        raw = torch.stack([trunk(input_ids=torch.tensor([ids]))[0, -1].float() for ids in contexts]).numpy()
    rows = Rows(
        row=np.arange(WORKS),
        document=np.arange(WORKS),
        position=np.array([len(ids) - 1 for ids in contexts]),
        token_id=np.array([ids[-1] for ids in contexts]),
        source=[f"w{n}" for n in range(WORKS)],
        split=[("train", "test", "val")[n % 3] for n in range(WORKS)],
        context_ids=contexts,
        activation=raw,
        resid_norm=np.linalg.norm(raw, axis=1),
    )
    folder.mkdir(parents=True, exist_ok=True)
    shard = write_shard(folder, "shard-00000.arrow", rows, "float32")
    fit_statistics(folder, ShardList("plan", site.name, 4, raw.shape[1], "float32", (shard,), 1))
    return ActivationStore.open(folder)


def pair_at(target: Target, store: ActivationStore, kind: str) -> SiteAutoencoder:
    return autoencoder(target, Site(kind=kind, layer=1).resolve(3), store.statistics, PROMPT, max_tokens=64).at()


@pytest.fixture(scope="module")
def store(target: Target, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return stored(target, "resid", tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def pair(target: Target, store: ActivationStore) -> SiteAutoencoder:
    return pair_at(target, store, "resid")


def record_of(pair: Any, store: ActivationStore, folder: Path) -> EvaluationRecord:
    made = Evaluation({}, resamples=100, batch_size=8).record(pair, store, folder, seed=0, corpus=Passages())
    made.pred_ND = unit(made.raw_ND)  # a perfect round trip, unless a test says otherwise
    return made


@pytest.mark.parametrize("kind", SITES)
def test_the_true_activation_changes_nothing_and_the_mean_does(target: Target, tmp_path: Path, kind: str) -> None:
    store = stored(target, kind, tmp_path / "store")
    record = record_of(pair_at(target, store, kind), store, tmp_path)
    record.corpus = AsPredicted(target)
    Function(rows=40)(record)
    metrics = record.board.metrics
    assert metrics["function/kl"] == pytest.approx(0, abs=1e-5)
    assert metrics["function/top1"] == 1.0
    assert metrics["function/kl_mean"] > 1e-3
    assert metrics["function/recovered"] == pytest.approx(1, abs=1e-3)
    assert metrics["function/recovered_noise"] < 0.9


def test_everything_but_the_true_one_costs_something(
    pair: SiteAutoencoder, store: ActivationStore, tmp_path: Path
) -> None:
    record = record_of(pair, store, tmp_path)
    Function(rows=50)(record)
    metrics = record.board.metrics
    test_rows = [row for row in range(WORKS) if row % 3 == 1]
    assert metrics["function/rows"] == sum(row % 10 != 1 for row in test_rows)
    for name in ("mean", "shuffled", "noise"):
        assert metrics[f"function/kl_{name}"] > 100 * abs(metrics["function/kl"])
        assert metrics[f"function/kl_{name}_gap_high"] < 0
        assert metrics[f"function/top1_{name}"] < 1
    assert metrics["function/kl_low"] <= metrics["function/kl"] <= metrics["function/kl_high"]
    assert "function/kl_quote" not in metrics
    record = record_of(pair, store, tmp_path)
    record.pred_ND = -record.pred_ND
    Function(rows=50)(record)
    assert record.board.metrics["function/kl"] > metrics["function/kl_mean"]


def test_it_is_written_at_the_last_position_of_each_context_alone(
    pair: SiteAutoencoder, store: ActivationStore
) -> None:
    corpus = Passages()
    contexts = [corpus.context_ids(row) for row in (0, 3, 6, 9)]
    assert len({len(ids) for ids in contexts}) > 1
    other_ND = 5 * torch.randn(4, store.width, generator=torch.Generator().manual_seed(1))
    clean_N, found = effects(pair, contexts, [20] * 4, {"x": other_ND}, batch_size=4)
    model = pair.target.model
    block = model.model.layers[1]
    for i, ids in enumerate(contexts):

        def write(module: Any, args: Any, output: Any, i: int = i) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = torch.cat([hidden[:, :-1], other_ND[i].expand(1, 1, -1)], dim=1)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        with torch.no_grad():
            clean = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            handle = block.register_forward_hook(write)
            changed = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            handle.remove()
        known = pair.target.n_tokens
        assert known == len(clean)
        assert float(clean_N[i]) == pytest.approx(-float(clean[20]), abs=1e-4)
        assert float(found["x"].entropy_N[i]) == pytest.approx(-float(changed[20]), abs=1e-4)
        kl = float((clean.exp() * (clean - changed)).sum())
        assert float(found["x"].kl_N[i]) == pytest.approx(kl, rel=1e-3)
        assert bool(found["x"].same_N[i]) == bool(clean.argmax() == changed.argmax())


def test_controls_have_the_rows_own_norm_and_quotes_the_explanations_length(
    pair: SiteAutoencoder, store: ActivationStore, tmp_path: Path
) -> None:
    record = record_of(pair, store, tmp_path)
    asked: list[str] = []

    def read(texts: list[str]) -> torch.Tensor:
        asked.extend(texts)
        return torch.eye(store.width)[:1].expand(len(texts), -1)

    tokenizer = pair.target.tokenizer
    record.quote_reader = QuoteReader(read, 5, tokenizer)
    record.texts = ["one two three" if i % 2 else "" for i in range(len(record.rows))]
    made = vectors(record, record.main_N)
    for name in ("", "shuffled", "noise", "quote"):
        assert torch.allclose(made[name].norm(dim=-1), record.raw_ND.norm(dim=-1), rtol=1e-4), name
    assert torch.allclose(made["mean"][0], record.training.raw_mean_D.float())
    assert not (made["shuffled"] == made[""]).all(dim=-1).any()
    n = min(5, len(tokenizer.encode("one two three", add_special_tokens=False)))
    wanted = {tokenizer.decode(ids[-n:]) for ids in record.context_ids[1::2]}
    assert set(asked) == wanted
    # no words, no quote: the mean direction
    assert torch.allclose(unit(made["quote"][0]), record.constant_D, atol=1e-5)


def test_without_the_corpus_it_says_why(pair: SiteAutoencoder, store: ActivationStore, tmp_path: Path) -> None:
    record = Evaluation({}).record(pair, store, tmp_path, seed=0)
    Function()(record)
    assert not [key for key in record.board.metrics if key.startswith("function")]
    assert "needs the corpus" in record.board.notes[0]
    with pytest.raises(NlaeError, match=r"evaluation\.measures\.function\.rows is 0"):
        Function(rows=0)
