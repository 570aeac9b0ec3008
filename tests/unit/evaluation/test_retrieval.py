"""Retrieval by pairs that know all, nothing, another row, or only what they copied."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlae.activations import ActivationStore
from nlae.errors import NlaeError
from nlae.evaluation import Evaluation
from nlae.evaluation.measures import Frontier, Retrieval
from nlae.evaluation.retrieval import LineUps, line_up, picked
from nlae.functional.scaling import unit

N = 1440  # rows of the store


def measured(pair: Any, store: ActivationStore, folder: Path, **others: Any) -> dict[str, float]:
    return Evaluation({**others, "retrieval": Retrieval()}, resamples=100)(pair, store, folder)


def context_of(store: ActivationStore) -> dict[int, list[int]]:
    rows = store.split("test")
    return {int(row): rows.context_ids(i) for i, row in enumerate(rows.row)}


@pytest.mark.parametrize("kind", ["document", "hard"])
def test_line_ups_share_what_they_should_and_nothing_is_drawn_twice(passages: ActivationStore, kind: str) -> None:
    pool = passages.split("test", early=False)
    lineups = line_up(pool, range(len(pool)), pool, kind, seed=0)
    assert len(lineups) == len(pool)
    for index, places in zip(lineups.index_M, lineups.place_MC, strict=True):
        assert places[0] == index
        assert len(set(places)) == 10
        works = {pool.source[i] for i in places[1:]}
        if kind == "document":
            assert works == {pool.source[index]}
        else:
            assert pool.source[index] not in works
            assert len({int(pool.token_id[i]) for i in places}) == 1
    again, other = (line_up(pool, range(len(pool)), pool, kind, seed=seed) for seed in (0, 1))
    assert np.array_equal(lineups.place_MC, again.place_MC)
    assert not np.array_equal(lineups.place_MC, other.place_MC)


def test_equally_near_candidates_share_the_point(passages: ActivationStore) -> None:
    pool = passages.split("test", early=False)
    own = unit(pool.activations([3]))
    assert picked(LineUps(np.array([3]), np.array([[3, 4, 5]])), own, pool).tolist() == [1.0]
    assert picked(LineUps(np.array([3]), np.array([[3, 3, 5]])), own, pool).tolist() == [0.5]
    assert picked(LineUps(np.array([4]), np.array([[4, 3, 5]])), own, pool).tolist() == [0.0]


def test_who_knows_picks_and_who_is_paired_wrongly_is_at_chance(
    fakes: SimpleNamespace, passages: ActivationStore, tmp_path: Path
) -> None:
    other = np.random.default_rng(0).permutation(N)
    right = measured(fakes.Autoencoder(fakes.truth(N), passages.statistics), passages, tmp_path / "right")

    class Wrong(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            return [dataclasses.replace(one, text=f"row {other[int(one.text.split()[1])]} noise 0") for one in said]

    wrong = measured(Wrong(fakes.truth(N), passages.statistics), passages, tmp_path / "wrong")
    blind = measured(fakes.Autoencoder(fakes.truth(N), passages.statistics, blind=True), passages, tmp_path / "blind")
    for kind in ("document", "hard"):
        name = f"retrieval/{kind}"
        assert right[name] == right[f"{name}_low"] == 1.0
        assert right[f"{name}_null"] == pytest.approx(0.1, abs=0.05)
        assert right[f"{name}_gap_low"] > 0.8
        for nothing in (wrong, blind):
            assert nothing[name] == pytest.approx(0.1, abs=0.05)
            assert nothing[f"{name}_low"] < 0.13
        assert right[f"{name}_rows"] == right["rows"]
    assert right["retrieval/chance"] == 0.1
    # each in its own words: there is nothing to take out
    assert right["retrieval/hard_no_copies"] == right["retrieval/hard_random_cut"] == 1.0
    assert "retrieval/hard_quote_1" not in right


def test_rows_without_nine_others_are_left_out_and_counted(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    found = measured(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path)
    # six main rows a work: none has nine others in it
    assert found["retrieval/document_rows"] == 0
    assert found["retrieval/document_left_out"] == found["rows"]
    assert "retrieval/document" not in found
    assert found["retrieval/hard"] == 1.0


def test_what_was_known_by_copying_is_gone_with_the_copies(
    fakes: SimpleNamespace, passages: ActivationStore, tmp_path: Path
) -> None:
    contexts = context_of(passages)

    class Copying(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        """Writes three words of the context after three of its own, and reads nothing but those."""

        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            return [dataclasses.replace(one, text=self.copied(int(one.text.split()[1]))) for one in said]

        def copied(self, row: int) -> str:
            return "some words first: " + " ".join(f"t{i}" for i in contexts[row][-4:-1])

        def _one(self, text: str) -> Tensor:
            known = {self.copied(row).split(": ")[1]: row for row in contexts}
            row = known.get(text.partition(": ")[2])
            return super()._one("" if row is None else f"row {row} noise 0")

    found = measured(Copying(fakes.truth(N), passages.statistics), passages, tmp_path)
    assert found["retrieval/hard"] == 1.0
    assert found["retrieval/hard_no_copies"] == pytest.approx(0.1, abs=0.05)
    assert found["retrieval/hard_no_copies_gap_low"] > 0.8
    # of six words three at random: the copies stay whole one time in twenty
    assert found["retrieval/hard_no_copies"] <= found["retrieval/hard_random_cut"] < 0.3


def test_a_quote_of_the_last_token_is_at_chance_where_all_share_it(
    fakes: SimpleNamespace, passages: ActivationStore, tmp_path: Path
) -> None:
    rows = passages.split("test")
    contexts, truth_ND = context_of(passages), unit(rows.all())
    mean = {int(token): unit(truth_ND[rows.token_id == token].mean(0)) for token in set(rows.token_id)}
    pairs = {tuple(f"t{i}" for i in ids[-2:]): truth_ND[i] for i, ids in enumerate(contexts.values())}
    trained = []

    def fit(autoencoder: Any, texts: Callable[[int], list[str]], activations: Any, **how: Any) -> Any:
        """A reader that knows the mean of each last token, and each row by its last two."""
        trained.append(how["updates"])

        def read(given: list[str]) -> Tensor:
            last = [tuple(text.split()[-2:]) for text in given]
            return torch.stack([pairs.get(two, mean[int(two[-1][1:])]) for two in last])

        return read

    frontier = Frontier(quote_lengths=(1, 2, 4), updates=3, batch_size=4, lr=0.1, fit_reader=fit)
    pair = fakes.Autoencoder(fakes.truth(N), passages.statistics)
    found = measured(pair, passages, tmp_path, frontier=frontier)
    assert trained == [3], "one reader for both measures"
    assert found["retrieval/hard_quote_1"] == pytest.approx(0.1, abs=0.05)
    assert found["retrieval/hard_quote_1_gap_low"] > 0.8
    assert found["retrieval/hard_quote_2"] > 0.95


def test_a_line_up_of_nothing_is_refused() -> None:
    with pytest.raises(NlaeError, match=r"evaluation\.measures\.retrieval"):
        Retrieval(rows=0)
    with pytest.raises(NlaeError, match=r"evaluation\.measures\.retrieval"):
        Retrieval(quote_lengths=[0])
