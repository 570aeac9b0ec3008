"""Groups among contexts, against planted ones."""

import torch

from nlae.dictionary.score.clusters import components, count_groups, group_rows, pair_threshold

BASIS = torch.eye(64)


def around(centres, noise=0.04, seed=0):
    drawn = torch.randn(len(centres), 64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(torch.stack(centres) + noise * drawn, dim=-1)


def counted(contexts_EKD, keep_EK, threshold=0.3):
    count_E, single_E = count_groups(components(contexts_EKD, keep_EK, threshold))
    return count_E.tolist(), single_E.tolist()


def test_planted_groups_are_counted():
    one = around([BASIS[0]] * 16)
    two = around([BASIS[0]] * 9 + [BASIS[1]] * 7)
    pair = around([BASIS[0]] * 2 + [BASIS[i] for i in range(1, 15)])
    keep_EK = torch.ones(4, 16, dtype=torch.bool)
    found = counted(torch.stack([one, two, BASIS[:16], pair]), keep_EK)
    assert found == ([1, 2, 0, 1], [True, False, False, False])


def test_chains_hang_together():
    angles = torch.arange(16) * 0.1  # neighbours are alike, the ends are not
    chain = torch.zeros(1, 16, 64)
    chain[0, :, 0], chain[0, :, 1] = angles.cos(), angles.sin()
    assert counted(chain, torch.ones(1, 16, dtype=torch.bool), 0.99) == ([1], [True])


def test_missing_contexts_count_for_nothing():
    keep_EK = torch.zeros(2, 16, dtype=torch.bool)
    keep_EK[0, :3] = True
    assert counted(around([BASIS[0]] * 16).expand(2, -1, -1), keep_EK) == ([1, 0], [True, False])


def test_threshold_is_the_quantile_of_random_pairs():
    vectors = torch.nn.functional.normalize(torch.randn(500, 64, generator=torch.Generator().manual_seed(1)), dim=-1)
    threshold = pair_threshold(vectors, 0.95, 0)
    cosines = (vectors @ vectors.T)[torch.triu_indices(500, 500, 1).unbind()]
    assert abs(float((cosines < threshold).float().mean()) - 0.95) < 0.01


def test_the_two_largest_groups_are_given_with_their_contexts():
    contexts_MD = around([BASIS[0]] * 3 + [BASIS[1]] * 5 + [BASIS[2]] * 2 + [BASIS[3]])
    row_EK = torch.stack([torch.arange(11), torch.tensor([0, 1, 2, 10, *[-1] * 7])])
    found_E2K = group_rows(contexts_MD, row_EK, 0.3)
    members = [[sorted(row for row in group if row >= 0) for group in entry] for entry in found_E2K.tolist()]
    assert members == [[[3, 4, 5, 6, 7], [0, 1, 2]], [[0, 1, 2], []]]
