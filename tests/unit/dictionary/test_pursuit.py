"""Matching pursuit against a greedy search that is written out."""

import torch

from nlae.dictionary.words.pursuit import pursue

E, C, D = 40, 7, 5


def drawn(seed):
    source = torch.Generator().manual_seed(seed)
    reading_ECD = torch.randn(E, C, D, generator=source)
    known_EC = torch.rand(E, C, generator=source) < 0.8
    cost_EC = torch.randint(1, 5, (E, C), generator=source)
    toll_EC = 0.05 * (torch.rand(E, C, generator=source) < 0.5)
    base_D = 0.3 * torch.randn(D, generator=source)
    vector_ED = torch.nn.functional.normalize(torch.randn(E, D, generator=source), dim=-1)
    return reading_ECD, known_EC, cost_EC, toll_EC, base_D, vector_ED


def cosine(said, entry, reading_ECD, base_D, vector_ED):
    total_D = base_D + reading_ECD[entry, list(said)].sum(0)
    return float(torch.nn.functional.cosine_similarity(total_D, vector_ED[entry], dim=0))


def greedy(entry, budget, reading_ECD, known_EC, cost_EC, toll_EC, base_D, vector_ED):
    said, best = set(), cosine((), entry, reading_ECD, base_D, vector_ED)
    while True:
        spent = sum(int(cost_EC[entry, c]) for c in said)
        free = [
            c for c in range(C) if known_EC[entry, c] and c not in said and spent + int(cost_EC[entry, c]) <= budget
        ]
        tried = {c: cosine(said | {c}, entry, reading_ECD, base_D, vector_ED) for c in free}
        worth = {c: value - float(toll_EC[entry, c]) for c, value in tried.items()}
        top = max(worth, key=worth.__getitem__, default=None)
        if top is None or worth[top] <= best + 1e-4:
            return said
        said, best = said | {top}, tried[top]


def test_it_is_a_greedy_search():
    for seed, budget in enumerate((1, 4, 9, 100)):
        given = drawn(seed)
        said_EC = pursue(*given, budget)
        for entry in range(E):
            assert set(torch.nonzero(said_EC[entry])[:, 0].tolist()) == greedy(entry, budget, *given)


def test_words_never_make_it_worse_and_the_budget_holds():
    for seed in range(4, 10):
        reading_ECD, known_EC, cost_EC, _, base_D, vector_ED = given = drawn(seed)
        said_EC = pursue(*given, 7)
        assert not bool((said_EC & ~known_EC).any())
        assert int((said_EC * cost_EC).sum(-1).max()) <= 7
        for entry in range(E):
            said = torch.nonzero(said_EC[entry])[:, 0].tolist()
            none = cosine((), entry, reading_ECD, base_D, vector_ED)
            assert cosine(said, entry, reading_ECD, base_D, vector_ED) >= none


def test_a_vector_that_words_make_up_is_found():
    reading_ECD = torch.eye(6)[None, :, :]
    vector_ED = torch.nn.functional.normalize(torch.tensor([[0.0, 2, 0, 1, 0, 1]]), dim=-1)
    known_EC, cost_EC, base_D = torch.ones(1, 6, dtype=torch.bool), torch.ones(1, 6).long(), torch.zeros(6)
    said_EC = pursue(reading_ECD, known_EC, cost_EC, torch.zeros(1, 6), base_D, vector_ED, 20)
    assert said_EC[0].tolist() == [False, True, False, True, False, True]
    toll_EC = torch.tensor([[0.0, 0, 0, 1, 0, 0]])  # such a word would have to bring it further than it can
    assert pursue(reading_ECD, known_EC, cost_EC, toll_EC, base_D, vector_ED, 20)[0].tolist() == [
        False,
        True,
        False,
        False,
        False,
        True,
    ]
