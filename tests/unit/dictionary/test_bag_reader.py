"""The reader `bag`: a ridge as numpy solves it, and texts that are read as the words they were made of."""

import numpy as np
import pytest
import torch

from nlae.dictionary.words.phrase import render
from nlae.dictionary.words.picking import SLOTS, Picked
from nlae.dictionary.words.ridge import Ridge, features, text_features
from nlae.dictionary.words.vocabulary import Vocabulary
from nlae.target import TinyTarget

WEIGHT = (1.0, 0.5, 0.25)  # of peaks, before, near
E, WIDTH, D = 60, 4, 6


@pytest.fixture(scope="module")
def fitted():
    source = torch.Generator().manual_seed(0)
    feature_EF = torch.randn(E, 3 * WIDTH, generator=source) + 1
    vector_ED = torch.nn.functional.normalize(torch.randn(E, D, generator=source) + 0.5, dim=-1)
    return feature_EF, vector_ED, Ridge(feature_EF, vector_ED, -vector_ED)


def test_it_is_a_ridge_on_weighted_features(fitted):
    feature_EF, vector_ED, ridge = fitted
    weight_F = np.repeat(WEIGHT, WIDTH)
    x_EF, y_ED = (value.double().numpy() for value in (feature_EF, vector_ED))
    x_EF = (x_EF - x_EF.mean(0)) * weight_F
    for penalty in (0.1, 3.0):
        # a ridge is least squares with √λ · 1 as further rows
        rows = np.vstack([x_EF, np.sqrt(penalty) * np.eye(len(weight_F))])
        right = np.vstack([y_ED - y_ED.mean(0), np.zeros((len(weight_F), D))])
        map_FD = np.linalg.lstsq(rows, right, rcond=None)[0]
        own, negated = (reader.read(feature_EF) for reader in ridge.fit(WEIGHT, penalty))
        np.testing.assert_allclose(own.numpy(), x_EF @ map_FD, atol=1e-5)
        torch.testing.assert_close(own, -negated, atol=1e-5, rtol=0)  # each set of vectors has its reader


def test_readings_have_no_mean_over_the_fitted(fitted):
    feature_EF, _, ridge = fitted
    read_ED = ridge.fit(WEIGHT, 1.0)[0].read(feature_EF)
    torch.testing.assert_close(read_ED.mean(0), torch.zeros(D), atol=1e-6, rtol=0)
    assert float(read_ED.abs().mean()) > 0.01


@pytest.fixture(scope="module")
def vocabulary():
    tokenizer = TinyTarget(layers=1).load_tokenizer()
    source = np.random.default_rng(0)
    embedding_VD = torch.randn(len(tokenizer), WIDTH, generator=torch.Generator().manual_seed(1))
    return Vocabulary(tokenizer, embedding_VD, source.integers(1, 9, len(tokenizer)))


def drawn(vocabulary, seed):
    """Different words in each slot; every word of the vocabulary comes up somewhere."""
    source, sizes = np.random.default_rng(seed), {"peaks": 4, "before": 2, "near": 4}
    words = {
        slot: np.concatenate([source.permutation(len(vocabulary)) for _ in range(k)]).reshape(k, -1).T
        for slot, k in sizes.items()
    }
    gone = {slot: source.random(word_EK.shape) < 0.2 for slot, word_EK in words.items()}
    return Picked({slot: torch.from_numpy(np.where(gone[slot], -1, words[slot])) for slot in SLOTS})


def test_the_text_that_is_shown_is_the_text_that_is_read(vocabulary):
    picked = drawn(vocabulary, 0)
    texts = [render(phrase) for phrase in picked.phrases(vocabulary)]
    torch.testing.assert_close(text_features(texts, vocabulary), features(picked, vocabulary), atol=1e-5, rtol=1e-5)


def test_several_phrases_are_added_up(vocabulary):
    one, two = drawn(vocabulary, 1), drawn(vocabulary, 2)
    phrases = zip(one.phrases(vocabulary), two.phrases(vocabulary), strict=True)
    texts = ["; ".join(map(render, pair)) for pair in phrases]
    together_EF = features(one, vocabulary) + features(two, vocabulary)
    torch.testing.assert_close(text_features(texts, vocabulary), together_EF, atol=1e-5, rtol=1e-5)


def test_what_a_word_adds_is_the_same_in_and_out_of_a_sum(vocabulary):
    picked = drawn(vocabulary, 3)
    feature_EF = features(picked, vocabulary)
    vector_ED = torch.nn.functional.normalize(torch.randn(len(feature_EF), D), dim=-1)
    (reader,) = Ridge(feature_EF, vector_ED).fit(WEIGHT, 1.0)
    sum_D = -reader.mean_D
    for slot in SLOTS:
        own = picked.word[slot][5]
        sum_D = sum_D + reader.words(slot, vocabulary)[own[own >= 0]].sum(0)
    torch.testing.assert_close(reader.read(feature_EF)[5], sum_D, atol=1e-5, rtol=1e-4)


def test_no_texts_give_no_rows(vocabulary):
    assert text_features([], vocabulary).shape == (0, 3 * WIDTH)
    assert not text_features([""], vocabulary).any()
