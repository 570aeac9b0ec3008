"""Rewordings that look at one text at a time: what they keep, what they take, and that a seed decides it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlae.errors import NlaeError
from nlae.rewording import Empty, FewerTokens, NoQuotes, OnlyQuotes, RandomTruncation, SentenceShuffle, Truncation
from nlae.rewording.fewer_tokens import fewer_tokens
from nlae.rewording.no_quotes import without_quotes
from nlae.rewording.sentence_shuffle import sentences, shuffled_sentences
from nlae.rewording.word_shuffle import shuffled_words

QUOTING = 'It ends on "the old mill", so it is about water.'


def test_words_are_kept_and_their_order_is_not() -> None:
    text = "one two  three\nfour five six seven"
    assert sorted(shuffled_words(text, 3).split()) == sorted(text.split())
    assert shuffled_words(text, 3) == shuffled_words(text, 3)
    assert len({shuffled_words(text, seed) for seed in range(20)}) > 15
    assert shuffled_words("", 1) == ""


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('It ends on "the old mill", so', "It ends on , so"),
        ("A “curly” and a «French» one", "A and a one"),
        ("It doesn't 'end here' and the dogs' tails don't", "It doesn't and the dogs' tails don't"),
        ("code `x = 1` runs", "code runs"),
        ('the last words are "the old harb', "the last words are"),
        ("ends on “the ra", "ends on"),
        ("He said ‘don’t go’ twice", "He said twice"),
        ('"all of it"', ""),
    ],
)
def test_quotes_are_taken_out_and_apostrophes_stay(text: str, left: str) -> None:
    assert without_quotes(text) == left


def test_only_the_quotes_are_left() -> None:
    assert OnlyQuotes().one('On "the old\nmill" or “a ra', 0) == '"the old mill" “a ra'
    assert not OnlyQuotes().applies("It doesn't quote")


def test_as_many_tokens_go_as_quotes_hold_and_not_the_quotes_alone() -> None:
    # three words and two marks are quoted, of fifteen tokens
    drawn = [fewer_tokens(QUOTING, seed) for seed in range(30)]
    assert {len(text.replace('"', " x ").replace(",", " x ").replace(".", " x ").split()) for text in drawn} == {10}
    assert any("mill" in text for text in drawn)
    assert any("water" not in text for text in drawn)
    assert drawn[3] == fewer_tokens(QUOTING, 3)
    assert len(set(drawn)) > 20


def test_sentences_change_places_and_stay_whole() -> None:
    text = "A river town. Spring floods come late!\nNobody hurries; the mill stands."
    parts = ["A river town.", "Spring floods come late!", "Nobody hurries;", "the mill stands."]
    assert sentences(text) == parts
    for seed in range(20):
        mixed = shuffled_sentences(text, seed)
        assert mixed != " ".join(parts)
        assert sorted(sentences(mixed)) == sorted(parts) or set(mixed.split()) == set(text.split())
    assert shuffled_sentences("One. Two.", 5) == "Two. One."
    assert not SentenceShuffle().applies("One sentence only.")


def test_truncation_keeps_the_beginning() -> None:
    text = "one two\nthree four five"
    assert Truncation(share=0.5).one(text, 0) == "one two\nthree"
    assert Truncation(words=2).one(text, 0) == "one two"
    assert not Truncation(words=5).applies(text)
    assert Truncation(words=4).applies(text)
    cut = RandomTruncation(shortest=1, longest=4)
    lengths = [len(cut.one(text, seed).split()) for seed in range(40)]
    assert set(lengths) == {1, 2, 3, 4}
    other = "six seven eight nine ten"
    assert lengths == [len(cut.one(other, seed).split()) for seed in range(40)], "one seed, one length"
    assert cut.one("", 1) == ""


@pytest.mark.parametrize("wrong", [{}, {"share": 0.5, "words": 2}, {"share": 1.0}, {"share": 0.0}, {"words": 0}])
def test_a_truncation_of_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(NlaeError, match="a truncation"):
        Truncation(**wrong)  # type: ignore[arg-type]


def test_random_lengths_need_a_range() -> None:
    with pytest.raises(NlaeError, match="shortest=5 and longest=4"):
        RandomTruncation(5, 4)


def test_texts_that_a_rewording_is_not_about_are_left_out(tmp_path: Path) -> None:
    texts = [QUOTING, "no quote at all", ""]
    for rewording in (NoQuotes(), OnlyQuotes(), FewerTokens()):
        made = rewording(texts, [0, 1, 2], tmp_path).texts
        assert made[1:] == [None, None]
        assert made[0] not in (None, QUOTING)
    assert Empty()(texts, [0, 1, 2], tmp_path).texts == ["", "", None]
