"""The lowest AUROC at which mismatched words are few enough among passes."""

import math

import pytest
import torch

from nlae.dictionary.score.passing import bar

NAN = math.nan


def plain(own, mismatched, least, false):
    """Every AUROC that own words reach, tried from below."""
    own, mismatched = ([v for v in values if not math.isnan(v)] for values in (own, mismatched))
    for level in sorted({least, *(v for v in own if v >= least)}):
        passes, wrong = (sum(v >= level for v in values) for values in (own, mismatched))
        if passes and wrong <= false * passes:
            return level
    return math.inf


def test_it_is_the_lowest_level_that_keeps_to_the_share():
    source = torch.Generator().manual_seed(0)
    seen = set()
    for shift in (0.0, 0.1, 0.2, 0.3):
        own_E = (0.5 + shift + 0.15 * torch.randn(300, generator=source)).clamp(0, 1)
        mismatched_E = (0.5 + 0.12 * torch.randn(300, generator=source)).clamp(0, 1)
        own_E[:20], mismatched_E[10:40] = NAN, NAN
        for false in (0.01, 0.05, 0.3):
            found = bar(own_E, mismatched_E, 0.7, false)
            assert found == pytest.approx(plain(own_E.tolist(), mismatched_E.tolist(), 0.7, false))
            seen.add(found)
    assert len(seen) > 4


def test_where_all_are_told_apart_it_is_the_least_that_is_allowed():
    assert bar(torch.tensor([0.9, 0.8]), torch.tensor([0.5, 0.6])) == 0.7
    assert bar(torch.tensor([0.9, 0.8]), torch.tensor([0.5, 0.6]), least=0.75) == 0.75


def test_where_none_is_it_is_infinite():
    assert bar(torch.tensor([0.8, 0.9]), torch.tensor([0.95, 0.95])) == math.inf
    assert bar(torch.tensor([0.4, 0.6]), torch.tensor([0.5, 0.5])) == math.inf
    assert bar(torch.tensor([NAN]), torch.tensor([NAN])) == math.inf
    assert bar(torch.zeros(0), torch.zeros(0)) == math.inf


def test_one_false_pass_in_twenty_is_allowed_and_two_are_not():
    own_E = torch.full((20,), 0.8)
    mismatched_E = torch.cat([torch.tensor([0.75]), torch.full((19,), 0.5)])
    assert bar(own_E, mismatched_E) == 0.7
    mismatched_E[1] = 0.75
    assert bar(own_E, mismatched_E) == pytest.approx(0.8)
