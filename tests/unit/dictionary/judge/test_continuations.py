"""Texts read once with many continuations: the same numbers as reading every pair alone."""

import pytest
import torch

from nlae.dictionary.judge.continuations import log_likelihood
from nlae.target import TinyTarget
from nlae.target.tiny import FAMILIES


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_pair_is_as_likely_as_read_alone(family):
    target = TinyTarget(family=family, layers=2, width=32, vocabulary=400).load()
    source = torch.Generator().manual_seed(0)
    texts = [torch.randint(5, 300, (n,), generator=source).tolist() for n in (12, 12, 9, 12, 30)]
    said = [torch.randint(5, 300, (n,), generator=source).tolist() for n in (1, 4, 7, 2)]
    pairs = [(text, ids) for text in texts for ids in said][::-1]
    finished: list[int] = []
    found = log_likelihood(target, pairs, 3, finished.append)
    assert sum(finished) == len(pairs)
    for (text, ids), value in zip(pairs, found, strict=True):
        before, alone = list(text), 0.0
        for token in ids:
            alone += float(target.next_token_logits([before]).log_softmax(-1)[0, token])
            before.append(token)
        assert value == pytest.approx(alone, abs=1e-4)


def test_a_text_is_read_once_whatever_the_number_of_its_continuations(monkeypatch):
    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    read: list[int] = []
    decoder = target.architecture.decoder(target.model)
    whole = type(decoder).forward

    def counting(self, input_ids=None, **more):
        read.append(int(input_ids.numel()))
        return whole(self, input_ids=input_ids, **more)

    monkeypatch.setattr(type(decoder), "forward", counting)
    log_likelihood(target, [([7] * 20, [9, number]) for number in range(8)], 8)
    assert read == [20, 8]  # the last token of a continuation is asked for, not read
