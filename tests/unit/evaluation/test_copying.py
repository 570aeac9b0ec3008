"""A verbalizer that copies is caught copying, back or ahead; one that does not is not; and what quotes are worth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from nlae.activations import ActivationStore
from nlae.errors import NlaeError
from nlae.evaluation import Evaluation, EvaluationRecord
from nlae.evaluation.continuation import continuations
from nlae.evaluation.copies import elsewhere
from nlae.evaluation.measures import Continuation, Copying, QuoteEquivalent
from nlae.evaluation.measures.quote_equivalent import equivalent
from nlae.functional.scaling import unit
from nlae.model.backbone import Backbone
from nlae.target import Site
from nlae.target.tiny import TinyTarget

N = 1440  # rows of the store


def writer(fakes: SimpleNamespace, store: ActivationStore, say: Any) -> Any:
    """A pair that says what `say` makes of a row's context tokens."""
    rows = store.split("test")
    contexts = {int(row): rows.context_ids(i) for i, row in enumerate(rows.row)}

    class Writer(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            return [dataclasses.replace(one, text=say(contexts[int(one.text.split()[1])])) for one in said]

    return Writer(fakes.truth(N), store.statistics)


def test_a_copying_verbalizer_is_caught(fakes: SimpleNamespace, passages: ActivationStore, tmp_path: Path) -> None:
    def quotes(ids: list[int]) -> str:
        return "It says: “" + " ".join(f"t{i}" for i in ids[-6:]) + "”"

    pair = writer(fakes, passages, quotes)
    metrics = Evaluation({"copying": Copying(n=3)}, resamples=50)(pair, passages, tmp_path)
    # eight words, six runs of three, four of them within the six that are quoted
    assert metrics["copy/context_run"] == pytest.approx(6)
    assert metrics["copy/context_share"] == pytest.approx(4 / 6)
    assert metrics["copy/context_run_null"] < 1.1
    assert metrics["copy/context_share_null"] < 0.01
    assert metrics["copy/context_run_gap_low"] > 4.5
    assert pl.read_parquet(tmp_path / "rows.parquet").filter(~pl.col("early"))["context_run"].to_list() == (
        [6.0] * int(metrics["copy/context_rows"])
    )


def test_words_that_belong_to_the_whole_work_are_no_copies_of_the_context(
    fakes: SimpleNamespace, passages: ActivationStore, tmp_path: Path
) -> None:
    # every text names two tokens that stand everywhere
    pair = writer(fakes, passages, lambda ids: "about t5 and t6, perhaps t7")
    metrics = Evaluation({"copying": Copying(n=1)}, resamples=50)(pair, passages, tmp_path)
    assert metrics["copy/context_share"] > 0.1
    assert abs(metrics["copy/context_share_gap"]) < 0.1


def test_another_passage_is_as_long_and_shares_no_place(passages: ActivationStore) -> None:
    rows = passages.split("test")
    wanted = list(range(len(rows)))
    least = [len(rows.context_ids(i)) for i in wanted]
    found = elsewhere(rows, wanted, rows, least, seed=0)
    assert set(found) == set(wanted)
    for i in wanted:
        assert len(found[i]) == least[i]
        (other,) = [
            j for j in wanted if rows.source[j] == rows.source[i] and rows.context_ids(j)[-least[i] :] == found[i]
        ]
        assert rows.document[other] != rows.document[i] or abs(rows.position[other] - rows.position[i]) >= 64
    one_passage = rows.select(rows.document == rows.document[0])
    lonely = one_passage.select(one_passage.position < 60)
    assert elsewhere(lonely, range(len(lonely)), lonely, [1] * len(lonely), seed=0) == {}


def test_works_of_one_passage_are_left_out_and_counted(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    pair = fakes.Autoencoder(fakes.truth(), store.statistics)
    metrics = Evaluation({"copying": Copying()}, resamples=50)(pair, store, tmp_path)
    assert metrics["copy/context_rows"] == 0
    assert metrics["copy/context_left_out"] == metrics["rows"]
    assert "copy/context_run" not in metrics


@pytest.fixture(scope="module")
def real() -> Any:
    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    return SimpleNamespace(target=target, backbone=Backbone(target, [Site(layer=1).resolve(2)]))


def test_continuations_are_the_targets_greedy_ones(real: Any) -> None:
    rng = np.random.default_rng(0)
    contexts = [rng.integers(10, 300, n).tolist() for n in (5, 9, 5, 5, 7)]
    found = continuations(real, contexts, 6, batch_size=2)
    for ids, said in zip(contexts, found, strict=True):
        expected = list(ids)
        for _ in range(6):
            expected.append(int(real.target.next_token_logits([expected]).argmax()))
        assert said == expected[len(ids) :]


def test_quoting_ahead_is_caught_too(
    fakes: SimpleNamespace, passages: ActivationStore, real: Any, tmp_path: Path
) -> None:
    """The real target goes on from random tokens; the fake verbalizer says what it is about to say."""
    rows = passages.split("test")
    low = {int(row): [i % 390 for i in rows.context_ids(place)] for place, row in enumerate(rows.row)}
    ahead = dict(zip(low, continuations(real, list(low.values()), 8, batch_size=64), strict=True))

    def told(said: dict[int, list[int]]) -> EvaluationRecord:
        pair = fakes.Autoencoder(fakes.truth(N), passages.statistics)
        pair.target, pair.backbone = real.target, real.backbone
        record = Evaluation({}, resamples=50).record(pair, passages, tmp_path, seed=0)
        record.context_ids = [low[int(row)] for row in record.rows.row]
        record.texts = ["so: " + record.decode(said[int(row)]) for row in record.rows.row]
        Continuation(rows=60, tokens=8, n=1)(record)
        return record

    metrics = told(ahead).board.metrics
    assert metrics["copy/continuation_rows"] == 60
    assert metrics["copy/continuation_share"] > 0.5
    assert metrics["copy/continuation_share_gap_low"] > 0.2
    back = told({row: ids[:8] for row, ids in low.items()}).board.metrics
    assert back["copy/continuation_run"] < metrics["copy/continuation_run"]
    kept = told(ahead).columns["continuation"]
    assert sum(one is not None for one in kept) == 60


def test_equivalents_by_hand() -> None:
    own = torch.tensor([0.5, 0.4, -0.3, 0.95, 0.3])
    mean = torch.full((5,), -0.1)
    # the quote of two is read worse than that of one, and counts as much
    quoted = {1: torch.full((5,), 0.3), 2: torch.full((5,), 0.2), 4: torch.full((5,), 0.5), 8: torch.full((5,), 0.9)}
    found = equivalent(own, mean, quoted)
    assert found[0] == pytest.approx(4)
    assert found[1] == pytest.approx(np.sqrt(2 * 5) - 1)  # half way between one and four
    assert found[2] == pytest.approx(0)
    assert found[3] == pytest.approx(8)
    assert found[4] == pytest.approx(1)


def test_the_place_on_the_frontier_has_an_interval_and_a_null(
    fakes: SimpleNamespace, passages: ActivationStore, tmp_path: Path
) -> None:
    def place(noise: float) -> dict[str, float]:
        pair = fakes.Autoencoder(fakes.truth(N), passages.statistics, noise=noise)
        record = Evaluation({}, resamples=200).record(pair, passages, tmp_path / str(noise), seed=0)
        source = torch.Generator().manual_seed(0)
        for n, strength in ((1, 0.6), (2, 0.4), (4, 0.2)):
            read_ND = unit(record.board.truth_ND + strength * torch.randn(record.raw_ND.shape, generator=source))
            record.errors[f"quote_{n}"] = record.board.error(read_ND)
        record.errors["quote_8_frozen"] = record.errors["quote_1"]  # another reader's
        record.errors["no_injection"] = record.board.error(record.constant_D.expand(len(record.rows), -1))
        QuoteEquivalent()(record)
        return record.board.metrics

    middling, good = place(0.3), place(0.01)
    name = "copy/quote_equivalent"
    assert 2 < middling[f"{name}_low"] < middling[name] < middling[f"{name}_high"] < 4
    assert middling[f"{name}_null"] == 0
    assert good[name] == pytest.approx(4)


def test_settings_that_copy_nothing_are_refused() -> None:
    with pytest.raises(NlaeError, match=r"measures\.copying\.n is 0"):
        Copying(n=0)
    with pytest.raises(NlaeError, match=r"measures\.continuation\.tokens is 0"):
        Continuation(tokens=0)
