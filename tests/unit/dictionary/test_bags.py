"""Which words stand at, before and near contexts, and how often: as counted in plain Python."""

from collections import Counter

import pytest
import torch

from nlae.dictionary.words.corpus_view import CorpusView
from nlae.dictionary.words.picking import COMMON, SLOTS, Bags
from nlae.dictionary.words.vocabulary import Vocabulary

WINDOW = 5


@pytest.fixture(scope="module")
def made(scanned):
    view = CorpusView(scanned.corpus, scanned.target.tokenizer)
    embedding_VD = torch.randn(len(scanned.target.tokenizer), 4)
    vocabulary = Vocabulary(scanned.target.tokenizer, embedding_VD, view.token_counts)
    panel = scanned.scan.panel("train")
    return vocabulary, panel, Bags(scanned.corpus, panel, vocabulary, WINDOW)


def words_at(scanned, vocabulary, panel, row):
    """Words at, before and near one context."""
    ids = scanned.corpus.input_ids(int(panel.document[row]))
    place = int(panel.position[row])
    words = [int(vocabulary.word_V[token]) for token in ids]
    near = {word for word in words[max(0, place - WINDOW) : place] if word >= 0 and vocabulary.whole_W[word]}
    return {"peaks": {words[place]} - {-1}, "before": {words[place - 1]} - {-1}, "near": near}


def test_counts_are_those_of_plain_python(scanned, made):
    vocabulary, panel, bags = made
    row_EK = torch.randint(-40, len(panel), (12, 9), generator=torch.Generator().manual_seed(0)).clamp_min(-1)
    row_EK[3] = -1
    near = Counter(word for row in range(len(panel)) for word in words_at(scanned, vocabulary, panel, row)["near"])
    common = {word for word, times in near.items() if times > COMMON * len(panel)}
    assert common
    assert len(common) < len(near)
    for slot in SLOTS:
        counts = bags.counts(row_EK, slot)
        for entry, rows in enumerate(row_EK.tolist()):
            plain = Counter(
                word
                for row in rows
                if row >= 0
                for word in words_at(scanned, vocabulary, panel, row)[slot]
                if slot != "near" or word not in common
            )
            found = counts[entry].tocoo()
            assert {int(w): int(c) for w, c in zip(found.col, found.data, strict=True) if c} == plain
        assert counts[3].nnz == 0


@pytest.mark.parametrize("slot", SLOTS)
def test_rarity_falls_with_the_number_of_contexts(scanned, made, slot):
    vocabulary, panel, bags = made
    held = Counter(word for row in range(len(panel)) for word in words_at(scanned, vocabulary, panel, row)[slot])
    expected = torch.tensor([(len(panel) + 1) / (held[word] + 1) for word in range(len(vocabulary))]).log()
    torch.testing.assert_close(torch.from_numpy(bags.rarity[slot]), expected)
