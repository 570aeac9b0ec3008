"""On which contexts entries are scored, and AUROC against its definition."""

import pytest
import torch

from nlae.dictionary.score.trials import FIRING, OTHERS, Readings, Trials

M, E = 300, 8


@pytest.fixture(scope="module")
def fires_EM():
    fires_EM = torch.rand(E, M, generator=torch.Generator().manual_seed(0)) < 0.2
    fires_EM[5] = False
    fires_EM[6] = True
    fires_EM[7, :] = torch.arange(M) < 4
    return fires_EM


@pytest.fixture(scope="module")
def said_EM():
    """Few different values, so that there are ties."""
    return torch.randint(0, 6, (E, M), generator=torch.Generator().manual_seed(1)).float()


def draw(fires_EM, least=5):
    return Trials.draw(lambda some: fires_EM[some], torch.arange(len(fires_EM)), fires_EM.shape[1], least, 0)


def said(value_EM):
    """Given predictions on the whole panel, at the contexts that are asked for."""
    return lambda places, row_eK: value_EM[places].gather(1, row_eK.clamp_min(0))


def kept(row):
    return [int(place) for place in row if place >= 0]


def test_few_contexts_are_all_taken(fires_EM):
    trials = draw(fires_EM)
    for entry in range(E):
        firing, others = kept(trials.fires_EF[entry]), kept(trials.other_EO[entry])
        assert sorted(firing) == torch.nonzero(fires_EM[entry])[:, 0].tolist()
        assert sorted(others) == torch.nonzero(~fires_EM[entry])[:, 0].tolist()
    assert trials.scored.tolist() == list(range(5))


def test_many_contexts_are_drawn_at_random_up_to_a_limit():
    rows = 9000
    fires_EM = torch.zeros(2, rows, dtype=torch.bool)
    fires_EM[0, : rows // 3], fires_EM[1, ::2] = True, True
    trials = draw(fires_EM)
    assert trials.fires_EF.shape == (2, FIRING) == (2, 400)
    assert trials.other_EO.shape == (2, OTHERS) == (2, 2000)
    for entry in range(2):
        firing, others = trials.fires_EF[entry], trials.other_EO[entry]
        assert len(set(kept(firing))) == FIRING
        assert len(set(kept(others))) == OTHERS
        assert bool(fires_EM[entry, firing].all())
        assert not bool(fires_EM[entry, others].any())
    assert abs(float(trials.fires_EF[0].float().mean()) / (rows / 6) - 1) < 0.1  # from everywhere


def test_auroc_is_what_it_is_defined_as(fires_EM, said_EM, naive_auroc):
    area_E = draw(fires_EM).auroc(said(said_EM))
    for entry in range(5):
        assert float(area_E[entry]) == pytest.approx(naive_auroc(said_EM[entry], fires_EM[entry]), abs=1e-5)
    assert area_E[5:].isnan().all()
    known = draw(fires_EM, least=4).auroc(said(said_EM))[7]
    assert float(known) == pytest.approx(naive_auroc(said_EM[7], fires_EM[7]), abs=1e-5)


def test_only_the_drawn_contexts_count(fires_EM, said_EM):
    places = torch.tensor([3, 1])
    few = draw(fires_EM)[places]
    area_E = few.auroc(said(said_EM[places]))
    torch.testing.assert_close(area_E, draw(fires_EM).auroc(said(said_EM))[places])


def test_perfect_and_useless_predictions(fires_EM):
    trials = draw(fires_EM)
    assert trials.auroc(said(fires_EM.float()))[:5].tolist() == [1.0] * 5
    assert trials.auroc(said(torch.zeros(E, M)))[:5].tolist() == [0.5] * 5


def test_works_count_as_often_as_they_were_drawn(fires_EM, said_EM, naive_auroc):
    works = 6
    work_M = torch.arange(M) % works
    source = torch.Generator().manual_seed(2)
    weight_RS = torch.cat([torch.ones(1, works), torch.randint(0, 3, (4, works), generator=source)]).double()
    area_ER = draw(fires_EM).resampled(said(said_EM), weight_RS, work_M)
    torch.testing.assert_close(area_ER[:5, 0], draw(fires_EM).auroc(said(said_EM))[:5])
    assert area_ER[5:].isnan().all()


def test_resamples_move_as_ranking_anew_would(naive_auroc):
    """To first order: over many works the spread is that of exact resamples, and each one is near its own."""
    rows, works = 3000, 60
    source = torch.Generator().manual_seed(3)
    work_M = torch.arange(rows) % works
    shift_S = torch.randn(works, generator=source)
    fires_EM = torch.rand(1, rows, generator=source) < 0.1
    said_EM = torch.randn(1, rows, generator=source) + fires_EM * (1 + 0.5 * shift_S[work_M])
    drawn_RS = torch.randint(works, (40, works), generator=source)
    weight_RS = torch.zeros(40, works).scatter_add_(1, drawn_RS, torch.ones(drawn_RS.shape))
    area_R = draw(fires_EM).resampled(said(said_EM), weight_RS, work_M)[0]
    exact = []
    for weight_S in weight_RS:
        repeated_M = torch.arange(rows).repeat_interleave(weight_S[work_M].long())
        exact.append(naive_auroc(said_EM[0, repeated_M], fires_EM[0, repeated_M]))
    exact_R = torch.tensor(exact)
    assert float((area_R - exact_R).abs().mean()) < 0.2 * float(exact_R.std())
    assert float(area_R.std() / exact_R.std()) == pytest.approx(1, abs=0.1)


def test_works_that_are_all_counted_twice_change_nothing(fires_EM, said_EM):
    trials = draw(fires_EM)
    twice_E1 = trials.resampled(said(said_EM), torch.full((1, 6), 2.0), torch.arange(M) % 6)
    torch.testing.assert_close(twice_E1[:5, 0], trials.auroc(said(said_EM))[:5], atol=1e-5, rtol=0)


def test_readings_are_inner_products_whichever_way_they_are_worked_out(naive_auroc):
    """Many entries share their other contexts and none of those they fire in; few share all."""
    source = torch.Generator().manual_seed(4)
    rows, entries = 6000, 40
    context_MD, reading_2ED = torch.randn(rows, 8, generator=source), torch.randn(2, entries, 8, generator=source)
    fires_EM = torch.rand(entries, rows, generator=source) < 0.02
    trials = Trials.draw(lambda some: fires_EM[some], torch.arange(entries), rows, 5, 0)
    area_2E = trials.auroc(Readings(reading_2ED, context_MD))
    said_2EM = reading_2ED @ context_MD.T
    for kind in range(2):
        torch.testing.assert_close(area_2E[kind], trials.auroc(said(said_2EM[kind])), atol=1e-6, rtol=0)
    weight_RS, work_M = torch.randint(0, 3, (4, 30), generator=source).double(), torch.arange(rows) % 30
    both = trials.resampled(Readings(reading_2ED, context_MD), weight_RS, work_M)
    torch.testing.assert_close(both[1], trials.resampled(said(said_2EM[1]), weight_RS, work_M), atol=1e-5, rtol=0)


def test_an_entry_that_fires_nearly_everywhere_still_has_its_others():
    rows = 3000
    fires_EM = torch.ones(2, rows, dtype=torch.bool)
    fires_EM[0, ::50] = False
    fires_EM[1, ::2] = False
    trials = Trials.draw(lambda some: fires_EM[some], torch.arange(2), rows, 5, 0, (10, 40))
    assert (trials.other_EO >= 0).sum(-1).tolist() == [40, 40]
    for entry in range(2):
        assert not bool(fires_EM[entry, trials.other_EO[entry]].any())
