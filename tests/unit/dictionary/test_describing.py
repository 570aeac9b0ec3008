"""Vectors of entries, and which of their candidates is chosen."""

import numpy as np
import torch

from nlae.dictionary.describing import Candidate, best, pick, vectors
from nlae.dictionary.reader.bag import text_features
from nlae.dictionary.score.trials import Trials
from nlae.dictionary.words.picking import Picked
from nlae.dictionary.words.vocabulary import Vocabulary
from nlae.target import TinyTarget

E, M, D = 5, 120, 4


def test_vectors_are_unit_means_of_the_contexts_there_are():
    train_MD = torch.randn(M, D, generator=torch.Generator().manual_seed(0))
    row_EK = torch.tensor([[3, 5, -1], [7, -1, -1], [-1, -1, -1]])
    found = vectors(train_MD, row_EK)
    torch.testing.assert_close(found[0], torch.nn.functional.normalize(train_MD[3] + train_MD[5], dim=0))
    torch.testing.assert_close(found[1], torch.nn.functional.normalize(train_MD[7], dim=0))
    assert not found[2].any()


def candidate(known):
    return Candidate(torch.zeros(E, 1), torch.tensor(known))


def test_the_best_known_words_are_chosen():
    select_MD = torch.randn(M, D, generator=torch.Generator().manual_seed(1))
    right_ED = torch.randn(E, D, generator=torch.Generator().manual_seed(2))
    fires_EM = right_ED @ select_MD.T > 1
    fires_EM[4] = False  # cannot be scored
    trials = Trials.draw(lambda some: fires_EM[some], torch.arange(E), M, 1, 0)
    assert trials.scored_E.tolist() == [True] * 4 + [False]
    candidates = {
        "bad": candidate([True, True, True, False, True]),
        "good": candidate([True, False, True, False, True]),
    }
    readings = {"bad": -right_ED, "good": right_ED.clone()}
    readings["good"][2] = -2 * right_ED[2]  # as bad, so that the first one stands
    kind_E = best(candidates, readings, trials, select_MD)
    assert kind_E.tolist() == [1, 0, 0, -1, 0]
    picked_ED = pick(readings, kind_E)
    assert torch.equal(picked_ED, torch.stack([right_ED[0], *-right_ED[1:3], torch.zeros(D), -right_ED[4]]))
    donor_E = torch.tensor([1, 0, 0, 0, 3])
    kind_E = best(candidates, readings, trials, select_MD, donor_E)
    assert kind_E[4] == -1  # the donor has no words
    assert torch.equal(pick(readings, kind_E, donor_E)[1], readings[["bad", "good"][int(kind_E[1])]][0])


def test_candidates_are_read_as_their_text():
    tokenizer = TinyTarget(layers=1).load_tokenizer()
    vocabulary = Vocabulary(tokenizer, torch.randn(len(tokenizer), 3), np.ones(len(tokenizer), dtype=np.int64))
    none = torch.full((2, 1), -1)
    parts = [
        Picked({"peaks": torch.tensor([[5], [k]]), "before": none, "near": torch.tensor([[9], [-1]])}) for k in (6, -1)
    ]
    joined = Candidate.of(vocabulary, *parts)
    assert joined.known_E.tolist() == [True, False]  # the second has one phrase only
    text = joined.text(0, vocabulary)
    assert text.count("; ") == 1
    torch.testing.assert_close(text_features([text], vocabulary)[0], joined.feature_EF[0])
    written = Candidate.written(vocabulary, {1: "law, courts and judges"}, 2)
    assert written.known_E.tolist() == [False, True]
    assert [written.text(entry, vocabulary) for entry in (0, 1)] == ["", "law, courts and judges"]
    torch.testing.assert_close(written.feature_EF[1:], text_features(["law, courts and judges"], vocabulary))
