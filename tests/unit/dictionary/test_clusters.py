"""Groups among contexts, against planted ones."""

import torch

from nlae.dictionary.score.clusters import cosine_threshold, count_clusters


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def around(centres, noise=0.04, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return unit(
        torch.stack([centres[i] for i in range(len(centres))]) + noise * torch.randn(len(centres), 64, generator=draw)
    )


def test_planted_groups_are_counted():
    basis = torch.eye(64)
    one = around([basis[0]] * 16)
    two = around([basis[0]] * 9 + [basis[1]] * 7)
    none = unit(torch.eye(64)[:16])
    pair = around([basis[0]] * 2 + [basis[i] for i in range(1, 15)])
    count, share = count_clusters(torch.stack([one, two, none, pair]), torch.ones(4, 16, dtype=torch.bool), 0.3)
    assert count.tolist() == [1, 2, 0, 1]
    torch.testing.assert_close(share, torch.tensor([1.0, 9 / 16, 1 / 16, 2 / 16]))


def test_chains_hang_together():
    angles = torch.arange(16) * 0.1  # neighbours are alike, the ends are not
    chain = torch.zeros(1, 16, 64)
    chain[0, :, 0], chain[0, :, 1] = angles.cos(), angles.sin()
    count, share = count_clusters(chain, torch.ones(1, 16, dtype=torch.bool), 0.99)
    assert (count.item(), share.item()) == (1, 1.0)


def test_missing_contexts_count_for_nothing():
    keep = torch.zeros(2, 16, dtype=torch.bool)
    keep[0, :3] = True
    count, share = count_clusters(around([torch.eye(64)[0]] * 16).expand(2, -1, -1), keep, 0.3)
    assert count.tolist() == [1, 0]
    assert share.tolist() == [1.0, 0.0]


def test_threshold_is_the_quantile_of_random_pairs():
    vectors = unit(torch.randn(500, 64, generator=torch.Generator().manual_seed(1)))
    threshold = cosine_threshold(vectors, 0.95, torch.Generator().manual_seed(2))
    cosines = (vectors @ vectors.T)[torch.triu_indices(500, 500, 1).unbind()]
    assert abs(float((cosines < threshold).float().mean()) - 0.95) < 0.01
