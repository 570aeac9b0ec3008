"""Row choice: proportional, seeded, and blind to content."""

from __future__ import annotations

import numpy as np
import pytest

from nlae.evaluation.sampling import derangement, others, stratified


def test_all_rows_without_a_limit() -> None:
    assert stratified(["a", "b"], None, 0).tolist() == [0, 1]
    assert stratified(["a", "b"], 5, 0).tolist() == [0, 1]


def test_rows_are_drawn_in_proportion_to_their_works() -> None:
    source = ["big"] * 600 + ["mid"] * 300 + ["small"] * 100
    chosen = stratified(source, 100, seed=0)
    assert len(chosen) == len(set(chosen.tolist())) == 100
    counts = {name: sum(source[i] == name for i in chosen) for name in ("big", "mid", "small")}
    assert counts == {"big": 60, "mid": 30, "small": 10}


def test_rounding_is_unbiased() -> None:
    # 40 works of 5 rows, 10 drawn: each row must come up in a twentieth of the draws
    source = [n // 5 for n in range(200)]
    hits = np.zeros(200)
    for seed in range(600):
        hits[stratified(source, 10, seed, min_clusters=1)] += 1
    assert hits.sum() == 6000
    assert hits.reshape(40, 5).sum(1).std() == pytest.approx(0, abs=3 * np.sqrt(150))
    assert abs(hits.mean() - 30) < 1e-9


def test_thirty_works_remain_where_there_are_thirty() -> None:
    source = ["giant"] * 10_000 + [f"work {n}" for n in range(50)]
    chosen = stratified(source, 100, seed=1)
    assert len(chosen) == 100
    assert len({source[i] for i in chosen}) >= 30


def test_the_choice_is_a_function_of_the_seed() -> None:
    source = [n % 40 for n in range(400)]
    assert stratified(source, 80, 3).tolist() == stratified(source, 80, 3).tolist()
    assert stratified(source, 80, 3).tolist() != stratified(source, 80, 4).tolist()


@pytest.mark.parametrize("sizes", [[1, 1], [3, 3], [5, 3, 2], [1] * 20, [10, 4, 4, 4]])
def test_derangement_sends_every_row_to_another_document(sizes: list[int]) -> None:
    document = np.repeat(np.arange(len(sizes)), sizes)
    document = np.random.default_rng(0).permutation(document)
    for seed in range(20):
        partner = derangement(document, seed)
        assert partner is not None
        assert sorted(partner.tolist()) == list(range(len(document)))
        assert (document[partner] != document).all()


def test_no_derangement_when_one_document_holds_most_rows() -> None:
    assert derangement([0, 0, 0, 1], 0) is None
    assert derangement([], 0) is None


def test_others_never_hold_the_row_itself() -> None:
    chosen = others(150, 100, seed=0)
    assert chosen.shape == (150, 100)
    for row, line in enumerate(chosen):
        assert row not in line
        assert len(set(line.tolist())) == 100
    assert others(5, 100, seed=0).shape == (5, 4)
