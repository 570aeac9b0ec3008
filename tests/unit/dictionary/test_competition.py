"""q-values by target–decoy competition: constructed cases, and the promised rate in simulation."""

import torch

from nlae.dictionary.score.competition import cut_off, q_values

NAN = float("nan")


def test_worked_example():
    # winners from the top: T 9, T 8, D 7, T 6, T 5; rates (1+0)/1, 1/2, –, 2/3, 2/4 -> running minimum from below
    target = torch.tensor([9.0, 8.0, 1.0, 6.0, 5.0])
    decoy = torch.tensor([0.0, 0.0, 7.0, 0.0, 0.0])
    torch.testing.assert_close(q_values(target, decoy), torch.tensor([0.5, 0.5, 1.0, 0.5, 0.5]))


def test_twenty_clear_winners_reach_five_percent():
    target = torch.arange(20.0) + 10
    assert q_values(target, torch.zeros(20)).tolist() == [torch.tensor(1 / 20).item()] * 20
    assert (q_values(target[:19], torch.zeros(19)) > 0.05).all()


def test_ties_and_missing_scores():
    target = torch.tensor([1.0, NAN, 2.0])
    decoy = torch.tensor([1.0, 0.0, NAN])
    q = q_values(target, decoy)
    assert q[0] == 1.0
    assert q[1].isnan()
    assert q[2] == 1.0  # (1 + 0) / 1: one winner alone cannot tell itself from luck


def test_a_tie_neither_passes_nor_keeps_others_from_passing():
    target = torch.cat([torch.arange(20.0) + 10, torch.full((5,), 50.0)])
    decoy = torch.cat([torch.zeros(20), torch.full((5,), 50.0)])
    q = q_values(target, decoy)
    assert q[:20].tolist() == [torch.tensor(1 / 20).item()] * 20
    assert (q[20:] == 1).all()


def test_nothing_known():
    assert q_values(torch.full((3,), NAN), torch.zeros(3)).isnan().all()
    assert q_values(torch.zeros(0), torch.zeros(0)).shape == (0,)


def test_an_entry_with_a_higher_score_never_has_a_higher_q():
    draw = torch.Generator().manual_seed(0)
    target, decoy = torch.randn(400, generator=draw) + 0.5, torch.randn(400, generator=draw)
    q = q_values(target, decoy)
    won = target > decoy
    ordered = q[won][target[won].argsort()]
    assert (ordered[1:] <= ordered[:-1]).all()


def test_cut_off():
    target, q = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0.01, 0.05, 0.2])
    assert cut_off(target, q, 0.05) == torch.tensor(0.8).item()
    assert cut_off(target, q, 0.001) == float("inf")


def test_false_discoveries_stay_at_the_rate_when_a_third_is_real():
    """200 simulated layers: the mean share of nulls among what passes stays below five percent."""
    shares, found = [], 0
    real = torch.arange(900) < 300
    for seed in range(200):
        draw = torch.Generator().manual_seed(seed)
        target, decoy = torch.randn(900, generator=draw), torch.randn(900, generator=draw)
        target[real] += 3.0
        passed = q_values(target, decoy) <= 0.05
        shares.append(float((passed & ~real).sum()) / max(1, int(passed.sum())))
        found += int((passed & real).sum())
    assert sum(shares) / len(shares) <= 0.055
    assert found / (200 * 300) > 0.5  # and the real ones are found


def test_nothing_passes_when_all_is_null():
    passed = 0
    for seed in range(200):
        draw = torch.Generator().manual_seed(1000 + seed)
        target, decoy = torch.randn(2, 900, generator=draw)
        passed += int((q_values(target, decoy) <= 0.05).any())
    assert passed / 200 <= 0.07  # a layer where anything passes at all is a false discovery
