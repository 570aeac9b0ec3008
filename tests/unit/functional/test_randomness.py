"""Draws depend on what they are for, and on nothing else."""

import torch

from nlae.functional.randomness import derive_seed, generator, sample_inverse_cdf, uniforms


def test_seeds_differ_by_every_key_and_fit_int64():
    keys = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1), (0, "a1"), (0, "a", "1")]
    seeds = [derive_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    # stored in nobody's head: another process must find the same
    assert derive_seed(0, "a", 1) == derive_seed(0, "a", 1) == 1497209822362405998


def test_generators_ignore_the_global_one():
    torch.manual_seed(0)
    first = torch.rand(3, generator=generator(1, "x"))
    torch.manual_seed(1)
    assert torch.equal(first, torch.rand(3, generator=generator(1, "x")))


def test_uniforms_of_a_row_depend_on_its_seed_alone():
    many_BT = uniforms([5, 6, 7], 20)
    assert torch.equal(uniforms([6], 20)[0], many_BT[1])
    # a longer cap goes on, it does not begin anew
    assert torch.equal(uniforms([6], 10)[0], many_BT[1, :10])
    assert ((many_BT >= 0) & (many_BT < 1)).all()


def test_inverse_cdf_by_hand():
    probability_BV = torch.tensor([[0.0, 0.25, 0.25, 0.5]]).expand(7, -1)
    uniform_B = torch.tensor([0.0, 0.2, 0.25, 0.49, 0.5, 0.75, 0.999])
    assert sample_inverse_cdf(probability_BV, uniform_B).tolist() == [1, 1, 2, 2, 3, 3, 3]


def test_inverse_cdf_reproduces_the_probabilities():
    probability_V = torch.tensor([0.5, 0.0, 0.3, 0.0, 0.15, 0.05, 0.0])
    # a fine even grid: the shares must be exact to the grid's step
    grid_B = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    drawn_B = sample_inverse_cdf(probability_V.expand(20000, -1), grid_B)
    share_V = torch.bincount(drawn_B, minlength=7) / 20000
    assert torch.allclose(share_V, probability_V, atol=1e-4)
    assert share_V[[1, 3, 6]].sum() == 0, "what has no probability is never drawn"


def test_the_last_draw_stays_inside_although_float32_probabilities_do_not_sum_to_one():
    probability_BV = torch.full((1, 50257), 1 / 50257) * 0.9999
    assert int(sample_inverse_cdf(probability_BV, torch.tensor([1 - 2**-24]))) == 50256


def test_a_row_does_not_depend_on_its_batch():
    logit_BV = torch.randn(64, 300, generator=torch.Generator().manual_seed(0))
    uniform_B = uniforms(list(range(64)), 1)[:, 0]
    together_B = sample_inverse_cdf(logit_BV.softmax(-1), uniform_B)
    alone_B = torch.cat([sample_inverse_cdf(logit_BV[i : i + 1].softmax(-1), uniform_B[i : i + 1]) for i in range(64)])
    assert torch.equal(together_B, alone_B)
