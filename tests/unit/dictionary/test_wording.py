"""Where what is asked is put into words: contexts at the place that is set, what is done to a neuron at the neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlae.dictionary import wording
from nlae.dictionary.columns import REAL, read_layer
from nlae.dictionary.corpus_view import CorpusView
from nlae.dictionary.describe.candidates import Sample, plan_texts
from nlae.dictionary.describe.texts import HELD_OUT, SHARED, WITH, WITHOUT, WRITE
from nlae.dictionary.job import Job
from nlae.dictionary.scan.decoys import token_counts
from nlae.dictionary.settings import CONTEXTS_AT, DictionarySettings
from nlae.dictionary.speaker import INPUT, NEURONS
from nlae.errors import NlaeError

LAYER = 1


class Names:
    """Says from which site and vector each text was made."""

    def __init__(self):
        self.given = {}

    def write(self, layer, activation, seeds, site):
        names = [f"text {seed}" for seed in seeds]
        self.given |= {name: (site, vector) for name, vector in zip(names, activation, strict=True)}
        return names


@pytest.mark.parametrize("place", CONTEXTS_AT)
def test_contexts_are_put_into_words_where_it_is_set(scanned, tmp_path, place):
    settings = DictionarySettings(contexts_at=place, batch_size=5)
    data = read_layer(scanned.scan, LAYER, token_counts(scanned.corpus), count=8, quantile=0.95, rotated=0, seed=0)
    sample = Sample(np.array([2, 5]), np.array([0, 1]))
    panels = {role: len(data.panels[role]) for role in ("train", "report")}
    plan = plan_texts(
        data.groups, {REAL: sample}, contexts=3, held_out=2, n_train=panels["train"], n_report=panels["report"]
    )
    speaker, view = Names(), CorpusView(scanned.corpus, scanned.target.tokenizer)
    job = Job(scanned.scan, view, speaker, settings, lambda layer: None, tmp_path, {LAYER: sample})
    texts = wording.written(job, data, plan)
    assert {request.kind for request in plan.requests} == {SHARED, WITH, WITHOUT, WRITE, HELD_OUT}
    assert len(set(texts)) == len(plan.requests)
    for request, text in zip(plan.requests, texts, strict=True):
        site, vector = speaker.given[text]
        as_it_is = request.kind in (SHARED, WITH)
        assert site == (place if as_it_is else NEURONS)
        if as_it_is:
            of = data.inputs if place == INPUT else data.real.values
            assert torch.equal(vector, of["train"][request.context])
        if request.kind == HELD_OUT:
            assert torch.equal(vector, data.real.values["report"][request.context])


def test_another_place_is_refused_by_name():
    with pytest.raises(NlaeError, match=r"dictionary.contexts_at=mlp_out must be one of mlp_in, mlp_neurons"):
        DictionarySettings(contexts_at="mlp_out")
