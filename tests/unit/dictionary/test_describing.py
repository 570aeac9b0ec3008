"""Vectors of entries, and which of their candidates is chosen."""

import numpy as np
import torch

from nlae.dictionary.words.describing import Candidate, best, pick
from nlae.dictionary.words.picking import Picked
from nlae.dictionary.words.ridge import text_features
from nlae.dictionary.words.vocabulary import Vocabulary
from nlae.target import TinyTarget


def test_the_best_known_words_are_chosen():
    known_PE = torch.tensor([[True, True, True, False, True], [True, False, True, False, True]])
    area_PE = torch.tensor([[0.5, 0.5, 0.7, 0.9, torch.nan], [0.9, 0.9, 0.7, 0.9, torch.nan]])
    kind_E = best(known_PE, area_PE)
    assert kind_E.tolist() == [1, 0, 0, -1, 0]  # as good, or not scored: the first one stands
    reading_PED = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))
    picked_ED = pick(reading_PED, kind_E)
    assert torch.equal(
        picked_ED, torch.stack([reading_PED[1, 0], *reading_PED[0, 1:3], torch.zeros(4), reading_PED[0, 4]])
    )


def test_candidates_are_read_as_their_text():
    tokenizer = TinyTarget(layers=1).load_tokenizer()
    vocabulary = Vocabulary(tokenizer, torch.randn(len(tokenizer), 3), np.ones(len(tokenizer), dtype=np.int64))
    none = torch.full((2, 1), -1)
    parts = [
        Picked({"peaks": torch.tensor([[5], [k]]), "before": none, "near": torch.tensor([[9], [-1]])}) for k in (6, -1)
    ]
    joined = Candidate.of(vocabulary, *parts)
    assert joined.known_E.tolist() == [True, False]  # the second has one phrase only
    text = joined.texts[0]
    assert text.count("; ") == 1
    torch.testing.assert_close(text_features([text], vocabulary)[0], joined.feature_EF[0])
    written = Candidate.written(vocabulary, {1: "law, courts and judges"}, 2)
    assert written.known_E.tolist() == [False, True]
    assert written.texts == ["", "law, courts and judges"]
    torch.testing.assert_close(written.feature_EF[1:], text_features(["law, courts and judges"], vocabulary))
