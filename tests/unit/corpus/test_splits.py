"""No work and no near-duplicate crosses a split."""

import numpy as np
import pytest

from nlae.corpus import splits
from nlae.corpus.splits import near_duplicate_links, shares, shingles, split_works
from nlae.errors import NlaeError

WORKS = [f"work{k}" for k in range(100)]


def split(works=WORKS, linked=(), **settings):
    return split_works(works, linked, **{"val_share": 0.1, "test_share": 0.2, "seed": 0, **settings})


def test_shares_and_determinism():
    assert shares(list(split().values())) == {"train": 70, "val": 10, "test": 20}
    assert split() == split(list(reversed(WORKS)))
    assert split() != split(seed=1)


def test_adding_works_moves_few_others():
    before, after = split(), split([*WORKS, "new1", "new2"])
    assert sum(before[work] != after[work] for work in WORKS) <= 4


def test_linked_works_share_a_split():
    chain = [(f"work{k}", f"work{k + 1}") for k in range(5)]
    result = split(linked=chain)
    assert len({result[f"work{k}"] for k in range(6)}) == 1


def test_a_large_cluster_trains():
    linked = [(f"work{k}", f"work{k + 1}") for k in range(60)]
    for seed in range(5):
        result = split(linked=linked, seed=seed)
        assert result["work0"] == "train"
        assert set(result.values()) == {"train", "val", "test"}


@pytest.mark.parametrize("count", [3, 4, 7])
def test_few_works_still_fill_every_split(count):
    for seed in range(10):
        assert set(split(WORKS[:count], seed=seed).values()) == {"train", "val", "test"}


def test_too_few_works_say_what_to_do():
    with pytest.raises(NlaeError, match=r"2 source work.*corpus\.heading.*corpus\.split_by=document"):
        split(WORKS[:2])
    with pytest.raises(NlaeError, match="1 source work"):
        split(WORKS[:3], linked=[("work0", "work1"), ("work1", "work2")])


def test_near_duplicates_are_found():
    base = [f"word{k}" for k in range(120)]
    copy = [*base[:60], "changed", *base[61:]]
    other = [f"other{k}" for k in range(120)]
    texts = [" ".join(words) for words in (base, other, copy, base)]
    assert near_duplicate_links(texts, ["a", "b", "c", "a"], 0.6) == [("a", "c")]


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_links_are_those_of_all_pairs(threshold):
    """Against every pair's estimate: what the bands find is right, and they miss nothing that is well above."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{k}" for k in range(400)])
    texts = []
    for _ in range(12):
        base = rng.choice(words, 80)
        for changes in (0, 2, 6, 20):
            copy = base.copy()
            copy[rng.choice(80, changes, replace=False)] = "changed"
            texts.append(" ".join(copy))
    works = [f"w{k:02d}" for k in range(len(texts))]
    sets = [set(shingles(text)) for text in texts]
    exact = {
        (works[a], works[b]): len(sets[a] & sets[b]) / len(sets[a] | sets[b])
        for b in range(len(texts))
        for a in range(b)
    }
    found = set(near_duplicate_links(iter(texts), works, threshold))
    assert all(exact[pair] > threshold - 0.25 for pair in found)
    assert {pair for pair, overlap in exact.items() if overlap > threshold + 0.25} <= found
    assert len(found) >= 5


def test_many_alike_are_all_linked_without_comparing_all(monkeypatch):
    monkeypatch.setattr(splits, "NEIGHBOURS", 3)
    text = " ".join(f"word{k}" for k in range(40))
    works = [f"w{k:03d}" for k in range(50)]
    links = near_duplicate_links([text] * 50, works, 0.6)
    assert len(links) == 49 + 48 + 47
    assert len(splits._clusters(works, links)) == 1
