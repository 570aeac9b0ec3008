"""Rewards by hand, and what failing earns."""

import math

import pytest
import torch

from nlae.errors import NlaeError
from nlae.training.reward import Copying, Fidelity, Length, Record, Reward


def scored(**changes) -> Record:
    given = {
        "text": ["a", "b", "c", " "],
        "activation_BD": torch.ones(4, 2),
        "reconstruction_BD": torch.ones(4, 2) / 2**0.5,
        "error_B": torch.tensor([0.5, 1.0, 0.2, 0.1]),
        "length_B": torch.tensor([10, 50, 60, 5]),
        "closed_B": torch.tensor([True, True, False, True]),
        "context_ids": [[1, 2], [1, 2], [3], [3]],
        "row": [7, 7, 8, 8],
        "group_B": torch.tensor([0, 0, 1, 1]),
        "seeds": [1, 2, 3, 4],
        "token_BT": torch.ones(4, 3, dtype=torch.long),
        "logp_BT": torch.zeros(4, 3),
        "mask_BT": torch.ones(4, 3),
        "site": "resid.1",
    }
    return Record(**{**given, **changes})


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
    for nothing in ({}, {"fidelity": None}):
        with pytest.raises(NlaeError, match="reward.terms is empty"):
            Reward(nothing)
    with pytest.raises(NlaeError, match="'mse' or 'log'"):
        Fidelity("cosine")


def test_a_term_that_cannot_be_called_is_named():
    with pytest.raises(NlaeError, match=r"reward\.terms\.mine is a dict: it needs a _target_"):
        Reward({"mine": {"weight": 1}})


def test_null_leaves_a_term_out():
    total_B, means = Reward({"fidelity": Fidelity(), "length": None})(scored())
    assert total_B[:2].tolist() == [-0.5, -1.0]
    assert "reward/length" not in means


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([0.0] * 4, r"reward.terms.mine returned a list; it must return a float tensor of shape \(4,\)"),
        (torch.zeros(4, 1), r"reward.terms.mine returned float32 of shape \(4, 1\)"),
        (torch.zeros(3), r"reward.terms.mine returned float32 of shape \(3,\)"),
        (torch.zeros(4, dtype=torch.long), r"reward.terms.mine returned int64 of shape \(4,\)"),
    ],
)
def test_a_term_that_returns_something_else_is_named(returned, said):
    reward = Reward({"fidelity": Fidelity(), "mine": lambda record: returned})
    with pytest.raises(NlaeError, match=said):
        reward(scored())


@pytest.mark.parametrize("worst", [math.nan, math.inf, -math.inf])
def test_a_term_that_is_not_finite_is_named_even_where_the_text_has_failed(worst):
    reward = Reward({"fidelity": Fidelity(), "mine": lambda record: torch.tensor([0.0, 0.0, worst, 0.0])})
    _, means = reward(scored())
    with pytest.raises(NlaeError, match=r"reward\.terms\.mine gave rewards that are not finite"):
        reward.check({name: float(mean) for name, mean in means.items()})
    _, means = Reward({"fidelity": Fidelity()})(scored())
    Reward({"fidelity": Fidelity()}).check({name: float(mean) for name, mean in means.items()})


def test_numbers_in_double_precision_become_float32():
    total_B, _ = Reward({"mine": lambda record: torch.ones(4, dtype=torch.float64)})(scored())
    assert total_B.dtype == torch.float32


def test_copied_tokens_cost_by_hand():
    token_BT = torch.tensor([[9, 1, 2, 3, 4, 9], [1, 2, 3, 9, 9, 9], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 0, 0]])
    context_ids = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 8, 3, 4, 5, 6], [4, 0, 0, 0, 0]]
    record = scored(token_BT=token_BT, context_ids=context_ids, length_B=torch.tensor([6, 6, 6, 4]))
    # a run of four; one of three, which is free; two that overlap; and zeros beyond the end, which nobody wrote
    assert torch.allclose(Copying(price=0.5, run=4)(record), torch.tensor([-2.0, 0.0, -3.0, 0.0]))
    assert torch.allclose(Copying(price=0.5, run=3)(record), torch.tensor([-2.0, -1.5, -3.0, 0.0]))
    with pytest.raises(NlaeError, match=r"reward\.terms\.copying\.run is 0"):
        Copying(run=0)


def test_a_quote_that_reads_better_earns_less_than_plain_words():
    own = [list(range(10, 30))] * 4
    token_BT = torch.tensor([[10, 11, 12, 13, 14, 15, 16, 17], [40, 41, 42, 43, 44, 45, 46, 47]] * 2)
    record = scored(
        token_BT=token_BT,
        context_ids=own,
        length_B=torch.full((4,), 8),
        closed_B=torch.ones(4, dtype=torch.bool),
        text=["a"] * 4,
        error_B=torch.tensor([0.5, 0.6] * 2),
    )
    plain_B, _ = Reward({"fidelity": Fidelity()})(record)
    priced_B, means = Reward({"fidelity": Fidelity(), "copying": Copying()})(record)
    assert plain_B[0] > plain_B[1]
    assert priced_B[0] < priced_B[1]
    assert means["reward/copying"] == pytest.approx(-0.02 * 8 / 2)
