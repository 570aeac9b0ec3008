"""From scores to rows: unseen windows, and what the bar decides."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from nlae.dictionary.scan.folder import Panel
from nlae.dictionary.score.frame import UNSEEN, decided, unseen
from nlae.dictionary.score.population import Population

RUNS, LENGTH, N = 9, 6, 3


@pytest.fixture(scope="module")
def panel():
    """Nine windows of six tokens, the last cut short, two from one passage."""
    run = np.repeat(np.arange(RUNS), LENGTH)[:-2]
    start = np.array([8, 8, 20, 8, 8, 8, 8, 8, 8])
    place = np.tile(np.arange(LENGTH), RUNS)[:-2]
    document = np.array([0, 1, 1, 2, 3, 4, 5, 6, 7])[run]
    none = np.zeros(len(run), dtype=np.int64)
    return Panel(document, start[run] + place, none, run, none.astype(object))


@pytest.fixture(scope="module")
def population(panel):
    test_Mn = torch.randn(len(panel), N, generator=torch.Generator().manual_seed(0))
    test_Mn[:, 2] = 0
    test_Mn[13, 2] = 5.0  # fires in one window only, and "-" nowhere
    train_Mn = torch.randn(80, N, generator=torch.Generator().manual_seed(1))
    return Population.of({"train": train_Mn.T, "test": test_Mn.T}, torch.arange(80), 4, 0.7)


def test_unseen_windows_are_the_strongest_and_two_further_down(panel, population):
    largest_E = torch.tensor([2.0, 1.0, 2.5, 2.0, 1.0, 2.5])
    found = unseen(population, panel, largest_E)
    for entry in range(2 * N):
        value_M = (1 if entry < N else -1) * population.values["test"][entry % N]
        windows = [torch.from_numpy(np.flatnonzero(panel.run == run)) for run in range(RUNS)]
        firing = [rows for rows in windows if float(value_M[rows].max()) > float(population.threshold_E[entry])]
        firing.sort(key=lambda rows, value_M=value_M: -float(value_M[rows].max()))
        chosen = [firing[i] for i in sorted({k * len(firing) // UNSEEN for k in range(UNSEEN)})] if firing else []
        assert found["unseen_document"][entry] == [int(panel.document[rows[0]]) for rows in chosen]
        assert found["unseen_start"][entry] == [int(panel.position[rows[0]]) for rows in chosen]
        assert found["unseen_peak"][entry] == [int(value_M[rows].argmax()) for rows in chosen]
        levels = [
            min(255, max(0, round(255 * float(v) / float(largest_E[entry])))) for rows in chosen for v in value_M[rows]
        ]
        assert found["unseen_level"][entry] == levels
    assert [len(documents) for documents in found["unseen_document"]] == [3, 3, 1, 3, 3, 0]
    assert max(found["unseen_level"][2]) == 255  # twice the largest exemplar is not more than all
    assert found["unseen_level"][2].count(0) == LENGTH - 1


@pytest.mark.parametrize(
    ("auroc", "permuted", "last_token", "grade", "label", "reason"),
    [
        (0.95, 0.6, 0.6, "strong", "context", ""),
        (0.9, 0.6, 0.95, "strong", "token", ""),
        (0.85, 0.9, 0.6, "good", "token", ""),
        (0.78, None, None, "fair", "context", ""),
        (0.85, 0.835, 0.6, "good", "token", ""),  # no more than chance would make of it
        (0.72, 0.5, 0.5, "", "", "bar"),
        (0.65, 0.5, 0.5, "", "", "auroc"),
        (None, None, None, "", "", "few contexts"),
    ],
)
def test_the_bar_decides(auroc, permuted, last_token, grade, label, reason):
    given = {"auroc": [auroc], "permuted": [permuted], "last_token": [last_token]}
    row = decided(pl.DataFrame(given, schema=dict.fromkeys(given, pl.Float32)), 0.75, 0.7).row(0, named=True)
    assert (row["passes"], row["grade"], row["label"], row["reason"]) == (reason == "", grade, label, reason)


def test_nothing_passes_an_infinite_bar_and_the_least_holds_whatever_the_bar():
    table = pl.DataFrame({name: [0.99, 0.6] for name in ("auroc", "permuted", "last_token")})
    assert decided(table, math.inf, 0.7)["reason"].to_list() == ["bar", "auroc"]
    assert decided(table, 0.5, 0.7)["passes"].to_list() == [True, False]
