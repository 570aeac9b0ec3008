"""The dictionary in flat numbers: shares of all entries, medians of the scored, intervals over works."""

import math

import pytest
import torch

from nlae.dictionary.figures import BASELINES, Reported, beats, figures, middle, share

NAN = math.nan


def test_what_is_not_scored_does_not_pass():
    area = torch.tensor([0.9, 0.75, 0.6, NAN])
    assert float(share(area, 0.7)) == 0.5
    assert float(share(area, math.inf)) == 0
    assert float(middle(area)) == pytest.approx(0.75)


def test_own_words_are_compared_where_both_are_scored():
    own, other = torch.tensor([0.9, 0.6, NAN, 0.8]), torch.tensor([0.8, 0.7, 0.5, NAN])
    assert float(beats(own, other)) == 0.5


def reported(works, resamples=500, entries=40):
    source = torch.Generator().manual_seed(0)
    shift = {"auroc": 0.75, "mismatched": 0.5, "rotated": 0.55, **dict.fromkeys(BASELINES, 0.6)}
    measured = {name: mean + 0.1 * torch.randn(entries, generator=source) for name, mean in shift.items()}
    measured["auroc"][:3] = NAN
    resampled = {
        name: value[:, None] + 0.02 * torch.randn(entries, resamples, generator=source)
        for name, value in measured.items()
    }
    return Reported(measured, resampled, works)


def test_figures_are_those_of_the_measured_areas():
    given = reported(40)
    flat, own, rotated = figures(given, 0.7, "bag"), given.measured["auroc"], given.measured["rotated"]
    passing, turned = float((own >= 0.7).sum()) / 40, float((rotated >= 0.7).sum()) / 40
    assert flat["bag/pass_share"] == pytest.approx(passing)
    assert flat["bag/rotated_share"] == pytest.approx(turned)
    assert flat["bag/headline"] == pytest.approx(passing - turned)
    wrong = float((given.measured["mismatched"] >= 0.7).sum()) / 40
    assert flat["bag/false_share"] == pytest.approx(wrong / passing)
    assert flat["bag/median_auroc"] == pytest.approx(float(own[3:].median()))
    for name in (*BASELINES, "mismatched", "rotated"):
        assert f"{name}/median_auroc" in flat


def test_intervals_are_quantiles_over_works_and_paired():
    given = reported(40)
    flat = figures(given, 0.7, "bag")
    gap_R = (given.resampled["auroc"] >= 0.7).double().mean(0) - (given.resampled["rotated"] >= 0.7).double().mean(0)
    gap_R = gap_R - gap_R.mean() + flat["bag/headline"]  # as wide as the resamples spread, around the figure
    ends = torch.quantile(gap_R, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert [flat["bag/headline_low"], flat["bag/headline_high"]] == pytest.approx(ends)
    assert flat["bag/headline_low"] < flat["bag/headline"] < flat["bag/headline_high"]


def test_fewer_than_thirty_works_give_no_interval():
    flat = figures(reported(29), 0.7, "bag")
    assert "bag/headline" in flat
    assert not any(name.endswith(("_low", "_high")) for name in flat)
    assert "bag/headline_low" in figures(reported(30), 0.7, "bag")


def test_without_a_rotation_there_is_no_headline():
    given = reported(40)
    measured, resampled = ({k: v for k, v in of.items() if k != "rotated"} for of in (given.measured, given.resampled))
    flat = figures(Reported(measured, resampled, 40), 0.7, "bag")
    assert not any("rotated" in name or "headline" in name for name in flat)
    assert "bag/pass_share" in flat


def test_nothing_passes_an_infinite_bar():
    flat = figures(reported(40), math.inf, "bag")
    assert flat["bag/pass_share"] == flat["bag/headline"] == 0
    assert "bag/false_share" not in flat  # a share of nothing


def test_where_nothing_passes_there_is_no_false_share():
    flat = figures(reported(40), 1.5, "bag")
    assert flat["bag/pass_share"] == 0
    assert "bag/false_share" not in flat
    own = {**reported(40).measured, "mismatched": torch.full_like(reported(40).measured["auroc"], 2.0)}
    assert "bag/false_share" not in figures(Reported(own, reported(40).resampled, 40), 1.5, "bag")
