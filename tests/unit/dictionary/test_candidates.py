"""Candidates against values worked out by hand: what is asked for, what is shared, which comes first, who gets more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlae.dictionary.columns import DECOY, NULL, NULL_DECOY, REAL, Columns
from nlae.dictionary.describe.candidates import (
    Sample,
    medoid_first,
    origin_names,
    plan_texts,
    shared_candidates,
    with_own,
)
from nlae.dictionary.describe.comparison import context_texts, equal_numbers
from nlae.dictionary.describe.key_words import context_only
from nlae.dictionary.describe.texts import HELD_OUT, SHARED, WITH, WITHOUT, WRITE, Request
from nlae.dictionary.settings import OWN
from nlae.teacher.words import DocumentFrequencies


def ints(*values):
    return np.asarray(values, dtype=np.int64)


def columns(rows, values=None):
    """Columns whose strongest contexts are given: rows[sign][neuron]."""
    row_2nK = torch.tensor(rows)
    train_Mn = torch.zeros(12, row_2nK.shape[1]) if values is None else values
    return Columns({"train": train_Mn}, row_2nK, torch.zeros(row_2nK.shape[:2]))


@pytest.fixture
def planned():
    real = columns([[[3, 4], [3, 5], [7, -1]], [[9, 3], [-1, -1], [3, 8]]])
    decoy = columns([[[1, 3], [3, 2], [10, 3]], [[3, 11], [2, 3], [-1, -1]]])
    null = columns([[[6, 3]], [[-1, -1]]])
    sample = Sample(ints(0, 1, 2), ints(1, 1, 0))
    few = sample.among(ints(2))
    samples = {REAL: sample, DECOY: sample, NULL: few, NULL_DECOY: few}
    groups = {REAL: real, DECOY: decoy, NULL: null, NULL_DECOY: columns([[[3, 6]], [[3, -1]]])}
    return plan_texts(groups, samples, contexts=1, held_out=3, n_train=12, n_report=9)


def test_one_shared_context_is_the_one_that_serves_most(planned):
    assert planned.shared.tolist() == [3]
    assert planned.requests[0] == Request(SHARED, 3)


def test_own_texts_are_of_the_entrys_own_column(planned):
    def asked(name, kind):
        return [None if place < 0 else planned.requests[place] for place in planned.own[name, kind].tolist()]

    assert asked(REAL, WITH) == [Request(WITH, 9), None, Request(WITH, 7)]
    assert asked(REAL, WITHOUT) == [Request(WITHOUT, 9, 0, -1), None, Request(WITHOUT, 7, 2, 1)]
    assert asked(REAL, WRITE) == [Request(WRITE, -1, 0, -1), Request(WRITE, -1, 1, -1), Request(WRITE, -1, 2, 1)]
    # what is shared anyhow is not written twice
    assert asked(DECOY, WITH) == [Request(SHARED, 3), Request(WITH, 2), Request(WITH, 10)]
    # column 0 of the null is neuron 2; its write direction is written once for all
    assert asked(NULL, WITH) == [Request(WITH, 6)]
    assert asked(NULL, WITHOUT) == [Request(WITHOUT, 6, 2, 1)]
    assert asked(NULL_DECOY, WITH) == [Request(SHARED, 3)]
    assert asked(NULL, WRITE) == asked(NULL_DECOY, WRITE) == asked(DECOY, WRITE)[2:] == asked(REAL, WRITE)[2:]
    assert len(set(planned.requests)) == len(planned.requests)


def test_held_out_contexts_are_spread_over_the_panel(planned):
    assert [planned.requests[place] for place in planned.held_out] == [Request(HELD_OUT, row) for row in (0, 4, 8)]


def test_kinds_that_are_not_wanted_are_not_asked():
    group = columns([[[3, 4]], [[5, 6]]])
    sample = Sample(ints(0), ints(0))
    plan = plan_texts(
        {REAL: group}, {REAL: sample}, contexts=2, held_out=0, n_train=12, n_report=9, kinds=(WITH, "context")
    )
    assert set(plan.own) == {(REAL, WITH)}
    assert plan.held_out == []
    assert {request.kind for request in plan.requests} <= {SHARED, WITH}


def test_the_part_of_a_sample_whose_neurons_were_drawn():
    sample = Sample(ints(1, 1, 4, 6, 9), ints(0, 1, 0, 1, 0))
    part = sample.among(ints(0, 1, 5, 6))
    assert part.neuron.tolist() == [1, 1, 6]
    assert part.sign.tolist() == [0, 1, 1]
    assert [place.tolist() for place in part.place] == [[0, 1, 1], [1, 1, 3]]
    assert len(sample.among(ints())) == len(Sample.none()) == 0


def test_shared_candidates_are_the_strongest_by_sign():
    values = torch.zeros(12, 2)
    values[torch.tensor([2, 5, 8])] = torch.tensor([[1.0, -4.0], [3.0, 0.0], [-2.0, 5.0]])
    group = columns([[[0], [0]], [[0], [0]]], values)
    found = shared_candidates(group, ints(2, 5, 8), 2)
    assert found.tolist() == [[[1, 0], [2, 1]], [[2, 0], [0, 1]]]
    assert shared_candidates(group, ints(2, 5, 8), 9).shape == (2, 2, 3)


def test_the_medoid_comes_first_and_the_rest_keep_their_order():
    angle = torch.tensor([0.0, 0.4, 0.9, 3.0])
    reading_CD = torch.stack([angle.cos(), angle.sin()], -1) * torch.tensor([[1.0], [5.0], [0.1], [9.0]])
    candidates = torch.tensor([[[3, 2, 1, 0]], [[0, 2, 1, 3]]])
    # the second of the three near ones lies between the others, however long the vectors are
    assert medoid_first(candidates, reading_CD).tolist() == [[[2, 3, 1, 0]], [[2, 0, 1, 3]]]
    assert medoid_first(candidates[..., 2:3], reading_CD).tolist() == candidates[..., 2:3].tolist()


def test_own_candidates_stand_in_their_columns():
    shared = torch.arange(2 * 3 * 2).view(2, 3, 2)
    sample = Sample(ints(5, 8), ints(1, 0), column=ints(0, 2))
    found = with_own(shared, sample, {"write": ints(40, 41), "with": ints(-1, 43)})
    assert torch.equal(found[..., :2], shared)
    own = found[..., 2:]
    assert own[1, 0].tolist() == [{"write": 40}.get(kind, -1) for kind in OWN]
    assert own[0, 2].tolist() == [{"write": 41, "with": 43}.get(kind, -1) for kind in OWN]
    assert (own >= 0).sum() == 3
    assert len(origin_names(2)) == found.shape[-1]
    assert origin_names(2)[2 + OWN.index("write")] == "write"


def test_as_many_texts_on_both_sides_and_none_twice():
    words = ["a", "b", "a", "c", "d", "k0", "k1", "k2", "k3"]
    written = torch.full((2, 3, 5), -1)
    written[0, 0] = torch.tensor([-1, 0, 2, 1, 3])  # the texts 0 and 2 say the same
    written[1, 1] = torch.tensor([4, 3, 1, 0, -1])
    written[0, 2] = torch.tensor([4, 3, 1, 0, -1])
    sample = Sample(ints(0, 1, 2), ints(0, 1, 0))
    found = equal_numbers(written, sample, [[5, 6, 7, 8], [5], []], words, 4)
    assert found["verbalized"][0, 0].tolist() == [0, 1, 3, -1]
    assert found["context_only"][0, 0].tolist() == [5, 6, 7, -1]
    assert found["verbalized"][1, 1].tolist() == [4, -1, -1, -1]
    assert found["context_only"][1, 1].tolist() == [5, -1, -1, -1]
    both = torch.stack([found["verbalized"], found["context_only"]]) >= 0
    assert torch.equal(both[0], both[1])
    assert int(both[0].sum()) == 4
    assert equal_numbers(written, sample, [[5, 6], [5], []], words, 1)["verbalized"].tolist()[0][0] == [0]


def test_key_words_of_parts_differ_and_begin_with_those_of_all():
    frequencies = DocumentFrequencies.fit(["The river ran.", "A stone fell.", "Some cloud.", "The lamp."])
    windows = [["The", " river", " old"], ["A", " river", " new"], ["Some", " lamp", " new"], ["The", " lamp", " old"]]
    found = context_texts(windows, frequencies, 12, 4)
    assert found[0] == context_only(windows, frequencies, 12)
    assert len(set(found)) == len(found) == 4
    assert context_texts(windows, frequencies, 12, 1) == found[:1]
    alone = context_texts(windows[:1], frequencies, 12, 4)  # one exemplar says one thing
    assert alone == [context_only(windows[:1], frequencies, 12)]
    assert context_texts([], frequencies, 12, 4) == []
