"""Measures by name: left out by null, refused by name, added from elsewhere; the shipped ones have meanings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from measured import evaluation
from nlae.activations import ActivationStore, Descriptions
from nlae.errors import NlaeError
from nlae.evaluation import Evaluation, EvaluationRecord
from nlae.evaluation.measures import PCA, Frontier, Greedy, Lengths, Matching, NoInjection, Rank
from nlae.report.meanings import meaning

CHEAP = {"frontier": None, "matching": None}


@pytest.mark.parametrize(
    "wrong",
    [{"subject": "rl"}, {"max_rows": 1}, {"fit_rows": 0}, {"site_rows": 1}, {"resamples": 0}, {"batch_size": 0}],
)
def test_settings_that_measure_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(NlaeError, match=rf"evaluation\.{next(iter(wrong))}"):
        Evaluation({}, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: PCA(components=[]), r"measures\.pca\.components"),
        (lambda: Frontier(quote_lengths=[0, 4]), r"measures\.frontier\.quote_lengths"),
        (lambda: Frontier(quote_lengths=[65]), "keeps 64 context tokens"),
        (lambda: NoInjection(samples=0), r"measures\.no_injection\.samples"),
        (lambda: Rank(others=0), r"measures\.rank\.others"),
        (lambda: Matching(rows=0), r"measures\.matching=null leaves it out"),
    ],
)
def test_a_measure_of_nothing_is_refused_by_name(build: object, said: str) -> None:
    with pytest.raises(NlaeError, match=said):
        build()  # type: ignore[operator]


def test_null_leaves_a_measure_out_and_changes_no_other(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    def measured(name: str, changes: dict[str, None]) -> dict[str, float]:
        pair = fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.2)
        return evaluation(CHEAP | changes, max_rows=60, resamples=20)(pair, store, tmp_path / name)

    whole, less = measured("whole", {}), measured("less", {"greedy": None, "rank": None, "mean": None})
    gone = {"fve_greedy", "rank_median", "rank_others", "control/mean", "control/mean_gap"}
    assert {re.sub("_(low|high)$", "", key) for key in whole.keys() - less.keys()} == gone
    assert less == {key: whole[key] for key in less}
    rows = pl.read_parquet(tmp_path / "less" / "rows.parquet")
    assert rows["rank"].null_count() == len(rows)
    assert "error_mean" not in rows.columns
    assert not (tmp_path / "less" / "frontier.json").exists()


class EvenTokens:
    """Whether the text names its row's number, beside the same of the next row's text: a measure from elsewhere."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, record: EvaluationRecord) -> None:
        assert len(record.context_ids) == len(record.rows) == len(record.texts) == len(record.pred_ND)
        named = [f"row {row} " for row in record.rows.row]
        right_N = torch.tensor([text.startswith(name) for text, name in zip(record.texts, named, strict=True)])
        null_N = torch.tensor(
            [text.startswith(name) for text, name in zip(np.roll(record.texts, 1), named, strict=True)]
        )
        record.board.add_mean(
            "named", self.factor * right_N.double(), record.main_N, null_N=self.factor * null_N.double()
        )
        record.columns["named"] = right_N.tolist()


def test_a_measure_from_elsewhere_puts_its_figure_with_interval_beside_a_null(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    pair = fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.2)
    metrics = Evaluation({"mine": EvenTokens(0.5)}, resamples=50)(pair, store, tmp_path)
    assert metrics["named"] == metrics["named_low"] == metrics["named_high"] == 0.5
    assert metrics["named_null"] == metrics["named_null_high"] == 0.0
    assert metrics["named_gap"] == metrics["named_gap_low"] == 0.5
    assert pl.read_parquet(tmp_path / "rows.parquet")["named"].all()
    assert "fve" in metrics, "the headline is always there"


def test_a_measure_that_writes_over_another_or_fits_no_row_is_named(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    pair = fakes.Autoencoder(fakes.truth(), store.statistics)

    def refused(mine: object, said: str) -> None:
        with pytest.raises(NlaeError, match=rf"evaluation\.measures\.mine{said}"):
            Evaluation({"mine": mine}, max_rows=20, resamples=10)(pair, store, tmp_path)  # type: ignore[dict-item]

    refused(lambda record: record.board.put("fve", 2.0), " puts another number at fve")
    refused(lambda record: record.columns.update(mine=[1.0]), ": column mine has 1 values for")
    refused(lambda record: record.errors.update(mine=torch.zeros(3)), ": column mine has 3 values for")
    refused({"rows": 3}, " is a dict: it needs a _target_")


def test_intervals_of_a_mean_are_clustered_and_paired(fakes: SimpleNamespace, store: ActivationStore) -> None:
    record = Evaluation({}, max_rows=None).record(
        fakes.Autoencoder(fakes.truth(), store.statistics), store, Path(), seed=0
    )
    generator = torch.Generator().manual_seed(0)
    work = {name: float(torch.randn((), generator=generator)) for name in sorted(set(record.rows.source.tolist()))}
    value_N = torch.tensor([work[name] for name in record.rows.source.tolist()])
    record.board.add_mean("x", value_N, record.main_N, null_N=value_N - 1)
    metrics = record.board.metrics
    assert metrics["x"] == pytest.approx(float(value_N[record.main_N].double().mean()))
    # forty works, each with one value: the interval is that of forty numbers, not of all their rows
    half = 1.96 * float(torch.tensor(list(work.values())).std()) / len(work) ** 0.5
    assert metrics["x_high"] - metrics["x_low"] == pytest.approx(2 * half, rel=0.25)
    assert metrics["x_gap_low"] == pytest.approx(1.0)
    assert metrics["x_gap_high"] == pytest.approx(1.0)


def test_several_sites_get_all_but_what_is_costly(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    calls: list[str] = []

    class Costly:
        costly = True

        def __call__(self, record: EvaluationRecord) -> None:
            calls.append("costly")

    class Plain:
        def __call__(self, record: EvaluationRecord) -> None:
            calls.append("plain")

    made = Evaluation({"a": Costly(), "b": Plain(), "c": Lengths()}, site_rows=20, resamples=10)
    pair = fakes.Autoencoder(fakes.truth(), store.statistics)
    record = made.record(pair, store, tmp_path, seed=0, several=True)
    made.measure(record, several=True)
    assert calls == ["plain"]
    assert record.board.metrics["rows"] == 20
    assert "tokens_mean" in record.board.metrics
    assert {name for name, one in evaluation().measures.items() if getattr(one, "costly", False)} == {
        *("greedy", "no_injection", "teacher", "frontier", "matching", "function", "continuation", "consensus")
    }
    assert Greedy.costly


def test_every_figure_of_every_shipped_measure_has_a_meaning(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    pair = fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.2)

    def fit(autoencoder: object, texts: object, activations: object, **how: object) -> object:
        return lambda given: fakes.truth()[: len(given)]

    made = evaluation({"frontier": {"updates": 1, "fit_reader": fit}}, max_rows=80, resamples=10)
    texts = Descriptions({int(row): f"row {row} noise 0" for row in store.split("test").row})
    metrics = made(pair, store, tmp_path, descriptions=texts)
    ends = re.compile(r"_(low|high|gap|gap_low|gap_high|null)$")
    for key in metrics:
        if not ends.search(key):
            assert meaning(key), key
    assert json.loads((tmp_path / "frontier.json").read_text())["points"]
