"""Whose words and which contexts the nulls of a description take, and a table of last tokens."""

import torch

from nlae.dictionary.score.nulls import LastToken, nearest, same_token
from nlae.dictionary.score.population import Population


def test_nearest_words_are_those_of_another_neuron_that_has_some():
    n, source = 30, torch.Generator().manual_seed(0)
    reading_ED = torch.randn(2 * n, 4, generator=source) * torch.rand(2 * n, 1, generator=source)
    missing_E = torch.rand(2 * n, generator=source) < 0.2
    for signed in (True, False):
        found = nearest(reading_ED, n, missing_E, signed)
        for entry in range(2 * n):
            others = [e for e in range(2 * n if signed else n) if e % n != entry % n and not missing_E[e]]
            cosines = torch.nn.functional.cosine_similarity(reading_ED[entry], reading_ED[others], dim=-1)
            assert int(found[entry]) == others[int(cosines.argmax())]


def test_contexts_trade_places_with_those_of_their_token():
    token_M = torch.randint(0, 5, (200,), generator=torch.Generator().manual_seed(1))
    token_M[7] = 99  # the only one of its kind
    row_EK = torch.randint(-1, 200, (40, 6), generator=torch.Generator().manual_seed(2))
    row_EK[0, 0] = 7
    drawn_EK = same_token(row_EK, token_M, 0)
    assert torch.equal(drawn_EK < 0, row_EK < 0)
    there = row_EK >= 0
    assert torch.equal(token_M[drawn_EK[there]], token_M[row_EK[there]])
    assert int(drawn_EK[0, 0]) == 7
    assert (drawn_EK[there] == row_EK[there]).float().mean() < 0.1
    assert len(drawn_EK[there].unique()) > 100  # drawn from all of them


def test_the_table_says_the_mean_of_a_token_and_of_all_where_it_is_new():
    train_Mn = torch.tensor([[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]])
    population = Population({"train": train_Mn.T}, torch.zeros(4), torch.zeros(4, 1, dtype=torch.long))
    table = LastToken(population, torch.tensor([5, 5, 1]), torch.tensor([5, 1, 9, 0]))
    said_EM = table(torch.arange(4), torch.arange(4).expand(4, -1))
    mean_nM = torch.tensor([[2.0, 8.0, 4.0, 4.0], [3.0, 0.0, 2.0, 2.0]])
    torch.testing.assert_close(said_EM, torch.cat([mean_nM, -mean_nM]))  # both signs
