"""Rewards by hand, and what failing earns."""

import math

import pytest
import torch

from nlae.errors import NlaeError
from nlae.training.reward import Fidelity, Length, Reward, Scored


def scored(**changes) -> Scored:
    given = {
        "error_B": torch.tensor([0.5, 1.0, 0.2, 0.1]),
        "length_B": torch.tensor([10, 50, 60, 5]),
        "closed_B": torch.tensor([True, True, False, True]),
        "text": ["a", "b", "c", " "],
    }
    return Scored(**{**given, **changes})


def test_sum_of_terms_and_failure_by_hand():
    reward = Reward({"fidelity": Fidelity(weight=2.0), "length": Length(free_tokens=40, price=0.01)}, failure=-3.0)
    total_B, means = reward(scored())
    # the third was not closed, the fourth is empty: both fail, however well they would be read
    assert torch.allclose(total_B, torch.tensor([-1.0, -2.1, -3.0, -3.0]))
    assert means["reward/total"] == pytest.approx(-9.1 / 4)
    assert means["reward/failed"] == 0.5
    assert means["reward/length"] == pytest.approx(-0.3 / 4)


def test_log_form_by_hand_and_finite_at_zero():
    got_B = Fidelity("log")(scored(error_B=torch.tensor([1.0, math.e, 0.0, 0.5])))
    assert torch.allclose(got_B[:2], torch.tensor([0.0, -1.0]))
    assert torch.isfinite(got_B).all()


def test_failing_is_worse_than_the_worst_direction_of_the_default():
    total_B, _ = Reward({"fidelity": Fidelity()})(scored(error_B=torch.tensor([2.4, 2.0, 0.0, 0.0])))
    assert total_B[2:].max() < total_B[:2].min()


def test_wrong_settings_are_refused():
    with pytest.raises(NlaeError, match="reward.terms is empty"):
        Reward({})
    with pytest.raises(NlaeError, match="'mse' or 'log'"):
        Fidelity("cosine")
