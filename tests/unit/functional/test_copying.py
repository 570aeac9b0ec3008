"""Runs and n-grams against values counted by hand and against a slow, plain search."""

from __future__ import annotations

import random

import pytest

from nlae.functional.copying import copied_spans, copied_words, gram_share, in_runs, longest_run, without_words, words


def runs_by_search(said: list[int], source: list[int], least: int) -> list[bool]:
    """Every pair of places, extended as far as it goes."""
    copied = [False] * len(said)
    for i in range(len(said)):
        for j in range(len(source)):
            n = 0
            while i + n < len(said) and j + n < len(source) and said[i + n] == source[j + n]:
                n += 1
            if n >= least:
                copied[i : i + n] = [True] * n
    return copied


@pytest.mark.parametrize("seed", range(30))
def test_runs_as_a_plain_search_finds_them(seed: int) -> None:
    rng = random.Random(seed)
    said, source = ([rng.randrange(4) for _ in range(rng.randrange(1, 25))] for _ in range(2))
    for least in (1, 2, 3, 4):
        assert in_runs(said, source, least) == runs_by_search(said, source, least)
    assert longest_run(said, source) == max(
        (n for n in range(1, len(said) + 1) if any(runs_by_search(said, source, n))), default=0
    )


def test_shares_by_hand() -> None:
    said, source = words("The old mill by the river"), words("he saw the old mill, the river")
    # the·old, old·mill and the·river of five
    assert gram_share(said, source, 2) == pytest.approx(3 / 5)
    assert longest_run(said, source) == 3
    assert gram_share(["a"], ["a"], 2) == 0.0
    assert gram_share([], [], 1) == 0.0
    assert longest_run([], source) == longest_run(said, []) == 0
    with pytest.raises(ValueError, match="at least one item"):
        in_runs(said, source, 0)


def test_copies_of_a_text_are_found_and_cut() -> None:
    text, source = "It ends on “The old mill”, near a river; don't stop.", "… by THE OLD MILL a river, and don't stop"
    assert copied_words(text, source, 2) == [3, 4, 5, 7, 8, 9, 10]
    assert [text[start:end] for start, end in copied_spans(text, source, 2)] == ["The old mill", "a river; don't stop"]
    assert [text[start:end] for start, end in copied_spans(text, source, 3)] == ["The old mill"]
    assert without_words(text, copied_words(text, source, 3)) == "It ends on “ ”, near a river; don't stop."
    assert without_words(text, []) == text
    assert without_words("one two", [0, 1]) == ""
