"""Words: how tokens are shown, which share one, and how they are read."""

from collections import Counter

import numpy as np
import pytest
import torch

from nlae.dictionary.words.vocabulary import Vocabulary, shown
from nlae.target import TinyTarget


@pytest.mark.parametrize(
    ("text", "initial", "word"),
    [
        (" law", True, "law"),
        ("ing", False, "-ing"),
        ("Law", False, "Law"),
        (" don't", True, "don't"),
        (" after", True, "“after”"),
        ("after", False, "-after"),
        (" After", True, "After"),
        (".", False, "full stop"),
        (" (", True, "opening bracket"),
        ("\n\n", False, "blank line"),
        ("\n\n\n", False, "blank line"),
        ("   ", False, "indentation"),
        (" ", False, ""),
        ("1998", False, "1998"),
        ("été", True, "été"),
        ("\ufffd", False, ""),
        ("\x07", False, ""),
        ("\u202e", False, ""),
        ("“a", True, ""),
        ("a b", True, ""),
        ("a,b", False, ""),
        (");", False, ""),
    ],
)
def test_shown(text, initial, word):
    assert shown(text, initial) == word


@pytest.fixture(scope="module")
def tokenizer():
    return TinyTarget(layers=1).load_tokenizer()


def made(tokenizer, counts):
    embedding_VD = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    return embedding_VD, Vocabulary(tokenizer, embedding_VD, counts)


def centred(embedding_VD, counts):
    unit_VD = torch.nn.functional.normalize(embedding_VD, dim=-1)
    return unit_VD - unit_VD[torch.from_numpy(counts) > 0].mean(0)


def test_tokens_of_one_word_are_averaged_by_count(tokenizer):
    counts = np.random.default_rng(0).integers(1, 50, len(tokenizer))
    embedding_VD, vocabulary = made(tokenizer, counts)
    unit_VD = centred(embedding_VD, counts)
    several = 0
    for word, place in vocabulary.place.items():
        tokens = np.flatnonzero(vocabulary.word_V == place)
        several += len(tokens) > 1
        mean_D = sum(unit_VD[t] * float(counts[t]) for t in tokens) / float(counts[tokens].sum())
        torch.testing.assert_close(vocabulary.embedding_WD[place], mean_D, msg=word)
        torch.testing.assert_close(vocabulary.embed([word]), mean_D)
    assert several > 5


def test_words_that_do_not_occur_are_left_out_and_read_as_pieces(tokenizer):
    counts = np.ones(len(tokenizer), dtype=np.int64)
    (token,) = tokenizer.encode(" the", add_special_tokens=False)
    counts[token] = 0
    embedding_VD, vocabulary = made(tokenizer, counts)
    assert "the" not in vocabulary.place
    assert vocabulary.word_V[token] == -1
    unit_VD = centred(embedding_VD, counts)
    torch.testing.assert_close(vocabulary.embed(["the"]), unit_VD[token])
    pieces = tokenizer.encode(" zxqv", add_special_tokens=False)
    assert len(pieces) > 1
    torch.testing.assert_close(vocabulary.embed(["zxqv", "the"]), unit_VD[pieces].mean(0) + unit_VD[token])


def test_no_control_tokens_and_no_broken_characters(tokenizer):
    _, vocabulary = made(tokenizer, np.ones(len(tokenizer), dtype=np.int64))
    assert all(vocabulary.word_V[token] == -1 for token in tokenizer.all_special_ids)
    assert all(word.isprintable() and "\ufffd" not in word and "<|" not in word for word in vocabulary.words)
    assert len(set(vocabulary.words)) == len(vocabulary)


def test_only_whole_words_are_said_to_stand_nearby(tokenizer):
    _, vocabulary = made(tokenizer, np.ones(len(tokenizer), dtype=np.int64))
    near = {word for word, whole in zip(vocabulary.words, vocabulary.whole_W, strict=True) if whole}
    assert near
    assert not any(word.startswith("-") or len(word) < 3 or " " in word or word == "comma" for word in near)


def test_the_commonest_words_make_up_half_of_the_text(tokenizer):
    counts = np.arange(1, len(tokenizer) + 1)
    vocabulary = made(tokenizer, counts)[1]
    total = Counter()
    for token, word in enumerate(vocabulary.word_V.tolist()):
        total[word] += int(counts[token]) if word >= 0 else 0
    ordered = sorted(range(len(vocabulary)), key=lambda word: -total[word])
    before = np.cumsum([0, *(total[word] for word in ordered)])[:-1]
    expected = {word for word, so_far in zip(ordered, before, strict=True) if so_far < sum(total.values()) / 2}
    assert {word for word, is_common in enumerate(vocabulary.common_W.tolist()) if is_common} == expected
    assert 0 < len(expected) < len(vocabulary) / 2
