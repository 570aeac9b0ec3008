"""Advantages by hand, the surrogate's clip, and a KL penalty that pulls."""

import pytest
import torch

from nlae.functional.policy import k3, leave_one_out_advantages, standardised_advantages, surrogate


def test_grpo_by_hand():
    # mean 2; the standard deviation of [1, 2, 3] without Bessel's correction is 0.8165
    got_GN = standardised_advantages(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    assert torch.allclose(got_GN[0], torch.tensor([-1.2247, 0.0, 1.2247]), atol=1e-3)
    assert torch.equal(got_GN[1], torch.zeros(3)), "a group of equals teaches nothing"


def test_rloo_by_hand():
    # each against the mean of the others: 1 − 5, 4 − 3.5, 6 − 2.5
    got_GN = leave_one_out_advantages(torch.tensor([[1.0, 4.0, 6.0]]))
    assert torch.allclose(got_GN, torch.tensor([[-4.0, 0.5, 3.5]]))


@pytest.mark.parametrize("advantages", [standardised_advantages, leave_one_out_advantages])
def test_advantages_sum_to_zero_and_keep_their_group(advantages):
    reward_GN = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).double()
    got_GN = advantages(reward_GN)
    assert torch.allclose(got_GN.sum(1), torch.zeros(6), atol=1e-5)
    moved_GN = reward_GN.clone()
    moved_GN[0] = 100 * reward_GN[0] + 7
    assert torch.equal(advantages(moved_GN)[1:], got_GN[1:])


@pytest.mark.parametrize("advantages", [standardised_advantages, leave_one_out_advantages])
def test_groups_of_one_are_refused(advantages):
    with pytest.raises(ValueError, match="two samples"):
        advantages(torch.ones(3, 1))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),  # on policy: the plain policy gradient
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # good and already more likely than 1 + clip: no more
        (0.5, 2.0, -1.0, -1.0),
        (0.5, -2.0, 1.6, 0.0),  # bad and already less likely than 1 − clip: no more
        (1.5, -2.0, 3.0, 3.0),  # bad and more likely: the pessimistic side, unclipped
    ],
)
def test_surrogate_by_hand(ratio, advantage, loss, slope):
    old_BT = torch.tensor([[-1.0]])
    logp_BT = (old_BT + torch.tensor(ratio).log()).requires_grad_(True)
    got_BT = surrogate(logp_BT, old_BT, torch.tensor([advantage]), 0.2)
    assert float(got_BT.detach()) == pytest.approx(loss, rel=1e-5)
    got_BT.sum().backward()
    assert float(logp_BT.grad) == pytest.approx(slope, rel=1e-5)


def expected_gradient(penalty, policy_V, reference_V):
    """∇ of the loss a sampler would see, weighted by the policy's own probabilities: no sampling noise at all."""
    logit_V = policy_V.clone().requires_grad_(True)
    logp_V = logit_V.log_softmax(-1)
    (logp_V.detach().exp() * penalty(logp_V, reference_V.log_softmax(-1))).sum().backward()
    return logit_V.grad


def test_trap_02_kl_penalty_pulls_and_the_naive_one_does_not():
    generator = torch.Generator().manual_seed(0)
    policy_V, reference_V = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    naive_V = expected_gradient(lambda logp, ref: logp - ref, policy_V, reference_V)
    assert naive_V.norm() < 1e-12, "this is why it is not used"
    pull_V = expected_gradient(k3, policy_V, reference_V)
    # ∇ E[k3] = softmax(policy) − softmax(reference): descending it moves every probability toward the reference's
    assert torch.allclose(pull_V, policy_V.softmax(-1) - reference_V.softmax(-1), atol=1e-12)
    for _ in range(2000):
        policy_V = policy_V - expected_gradient(k3, policy_V, reference_V)
    assert torch.allclose(policy_V.softmax(-1), reference_V.softmax(-1), atol=1e-4)


def test_k3_is_zero_at_the_reference_never_negative_and_unbiased():
    generator = torch.Generator().manual_seed(1)
    policy_V, reference_V = torch.randn(2, 9, generator=generator, dtype=torch.float64).log_softmax(-1)
    assert torch.equal(k3(policy_V, policy_V), torch.zeros(9, dtype=torch.float64))
    assert (k3(policy_V, reference_V) >= 0).all()
    kl = (policy_V.exp() * (policy_V - reference_V)).sum()
    assert torch.allclose((policy_V.exp() * k3(policy_V, reference_V)).sum(), kl)
