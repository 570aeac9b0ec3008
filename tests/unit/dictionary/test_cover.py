"""Which contexts and neurons are chosen: small cases worked out by hand."""

import numpy as np
import pytest

from nlae.dictionary.describe.cover import cover, share, stratified


def ints(rows):
    return np.asarray(rows, dtype=np.int64)


def test_the_context_that_serves_most_entries_comes_first():
    strongest = ints([[4, 1], [4, 2], [4, 3], [0, 1]])
    assert cover(strongest, 6, 1).tolist() == [4]
    # entries 0 to 2 count half now: context 1 serves entries 0 (1/2) and 3 (1), context 0 only entry 3 (1)
    assert cover(strongest, 6, 2).tolist() == [1, 4]


def test_an_entry_counts_half_as_much_each_time_it_is_served():
    # three entries share 0, 1 and 2; two others share 3: once 0 and 1 are taken, 3 (2) beats 2 (3/4)
    strongest = ints([[0, 1, 2], [0, 1, 2], [0, 1, 2], [3, -1, -1], [3, -1, -1]])
    assert cover(strongest, 4, 1).tolist() == [0]
    assert cover(strongest, 4, 2).tolist() == [0, 3]  # 1 has fallen to 3/2
    assert cover(strongest, 4, 3).tolist() == [0, 1, 3]


def test_every_entry_is_served_where_the_budget_allows_it():
    draw = np.random.default_rng(0)
    strongest = ints([draw.choice(200, 8, replace=False) for _ in range(300)])
    chosen = cover(strongest, 200, 60)
    assert len(set(chosen.tolist())) == 60
    served = np.isin(strongest, chosen).any(1).mean()
    by_chance = np.mean([np.isin(strongest, draw.choice(200, 60, replace=False)).any(1).mean() for _ in range(20)])
    assert served == 1.0 > by_chance


def test_missing_contexts_are_nobodys():
    assert cover(ints([[-1, -1], [2, -1]]), 3, 1).tolist() == [2]
    assert len(cover(ints([[-1, -1]]), 3, 2)) == 2  # the budget is filled even where nobody is served


@pytest.mark.parametrize(("contexts", "budget", "wanted"), [(5, 9, 5), (5, 5, 5), (5, 0, 0), (0, 3, 0)])
def test_the_budget_is_met_exactly_or_all_are_taken(contexts, budget, wanted):
    strongest = ints([[0, 1]] if contexts else [[-1, -1]])
    chosen = cover(strongest, contexts, budget)
    assert len(chosen) == wanted
    assert chosen.tolist() == sorted(set(chosen.tolist()))


def test_a_stratified_sample_takes_one_of_every_stratum_of_frequency():
    frequency = np.asarray([(37 * i) % 100 / 100 for i in range(100)])
    neurons, signs = stratified(frequency, 10, np.random.default_rng(0))
    assert neurons.tolist() == sorted(neurons.tolist())
    assert sorted(int(frequency[n] * 10 + 1e-9) for n in neurons) == list(range(10))
    assert len(signs) == 10
    assert set(signs.tolist()) <= {0, 1}


@pytest.mark.parametrize(("count", "wanted"), [(0, 0), (3, 3), (7, 5)])
def test_a_sample_is_never_larger_than_what_there_is(count, wanted):
    neurons, signs = stratified(np.linspace(0, 1, 5), count, np.random.default_rng(1))
    assert len(neurons) == len(signs) == wanted
    assert len(set(neurons.tolist())) == wanted


def test_samples_differ_by_seed_and_take_both_signs():
    draws = [stratified(np.linspace(0, 1, 400), 40, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert draws[0][0].tolist() == draws[1][0].tolist() != draws[2][0].tolist()
    assert 5 < int(draws[0][1].sum()) < 35


@pytest.mark.parametrize(
    ("total", "parts", "wanted"), [(10, 3, [4, 3, 3]), (2, 4, [1, 1, 0, 0]), (0, 2, [0, 0]), (6, 3, [2, 2, 2])]
)
def test_shares_differ_by_one_at_most(total, parts, wanted):
    assert share(total, parts) == wanted
