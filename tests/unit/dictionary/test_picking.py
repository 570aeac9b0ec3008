"""The leading words of each list, and how many of them a phrase holds."""

from types import SimpleNamespace

import numpy as np
import torch
from scipy import sparse

from nlae.dictionary.words.phrase import Phrase
from nlae.dictionary.words.picking import SLOTS, TURNS, Picked, leading, within

NONE = -1


def bags(count, rarity=None):
    """The same counts in all slots."""
    count_EW = np.asarray(count, dtype=np.float32)
    rarity_W = np.ones(count_EW.shape[1], dtype=np.float32) if rarity is None else np.asarray(rarity, dtype=np.float32)
    return SimpleNamespace(counts=lambda rows, slot: sparse.csr_matrix(count_EW), rarity=dict.fromkeys(SLOTS, rarity_W))


def test_the_commonest_come_first_and_ties_go_to_the_lower_place():
    picked = leading(bags([[1, 3, 0, 3], [0, 0, 0, 0], [2, 2, 2, 2]]), None, dict.fromkeys(SLOTS, 3))
    for slot in ("peaks", "before"):
        assert picked.word[slot].tolist() == [[1, 3, 0], [NONE] * 3, [0, 1, 2]]
    assert picked.empty_E.tolist() == [False, True, False]


def test_words_count_by_their_rarity_and_one_context_for_half_or_nearby_for_nothing():
    picked = leading(bags([[1, 2, 3, 2]], rarity=[100.0, 1.0, 1.0, 2.0]), None, dict.fromkeys(SLOTS, 4))
    assert picked.word["near"].tolist() == [[3, 2, 1, NONE]]
    assert picked.word["peaks"].tolist() == [[0, 3, 2, 1]]
    picked = leading(bags([[1, 2, 3, 2]], rarity=[4.0, 1.0, 1.0, 2.0]), None, dict.fromkeys(SLOTS, 4))
    assert picked.word["before"].tolist() == [[3, 2, 0, 1]]  # 4 · ½ is less than 2 · 1½


def test_slots_take_turns_until_the_budget_is_spent():
    costs = torch.tensor([2, 3, 1, 4])
    vocabulary = SimpleNamespace(cost_W=costs, overhead=1, words=list("abcd"))
    source = torch.Generator().manual_seed(0)
    drawn = {slot: torch.randint(-1, 4, (50, len(turns)), generator=source) for slot, turns in TURNS.items()}
    for budget in (1, 8, 14, 100):
        kept = within(Picked(drawn), vocabulary, budget)
        for entry in range(50):
            turns = sorted((turn, slot, k) for slot, given in TURNS.items() for k, turn in enumerate(given))
            left, expected = budget - vocabulary.overhead, {slot: [NONE] * len(given) for slot, given in TURNS.items()}
            for _, slot, k in turns:
                word = int(drawn[slot][entry, k])
                left -= int(costs[word]) if word >= 0 else 0
                if left < 0:
                    break
                expected[slot][k] = word
            assert {slot: kept.word[slot][entry].tolist() for slot in SLOTS} == expected


def test_words_of_an_entry_make_a_phrase():
    word = {"peaks": torch.tensor([[0, NONE]]), "before": torch.tensor([[NONE]]), "near": torch.tensor([[2, 1]])}
    vocabulary = SimpleNamespace(words=["of", "law", "court"])
    assert Picked(word).phrases(vocabulary) == [Phrase(("of",), (), ("court", "law"))]
