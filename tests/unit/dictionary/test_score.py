"""Scores of a layer on made-up panels: which split decides what, signs, baselines against loops, strangers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nlae.dictionary.columns import DECOY, NULL, NULL_DECOY, REAL, ROTATED, ROTATED_DECOY, Columns, LayerData
from nlae.dictionary.scan.folder import ROLES, Panel
from nlae.dictionary.schema import REASONS
from nlae.dictionary.score.baselines import LastToken, skyline, token_list
from nlae.dictionary.score.layer import Texts, score_layer, strangers_candidates
from nlae.dictionary.score.panels import Labels
from nlae.dictionary.score.passing import Rules, decide, null_passes

N, D, M, TEXTS, SHARED, VOCABULARY = 40, 12, 400, 30, 3, 25
GROUPS = (REAL, DECOY, ROTATED, ROTATED_DECOY, NULL, NULL_DECOY)
RULES = Rules(fdr=0.2, min_auroc=0.6, min_margin=0.02)


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def panel(role, seed):
    token_id = np.random.default_rng(seed).integers(0, VOCABULARY, M)
    document = np.sort(np.random.default_rng(seed + 1).integers(0, 80, M))
    return Panel(Path(), role, document, np.arange(M), token_id, np.full(M, "work", dtype=object))


def layer(seeds=(0, 1, 2, 3), sign=1):
    """Columns that a direction of the input drives, so that texts with that direction predict them; one seed a role."""
    direction_ND, nulls = F.normalize(random(N, D, seed=100), dim=-1), GROUPS[1:]
    panels, inputs, values = {}, {}, {name: {} for name in (REAL, *nulls)}
    for role, seed in zip(ROLES, seeds, strict=True):
        panels[role] = panel(role, 10 * seed)
        inputs[role] = random(M, D, seed=10 * seed + 2)
        noise = 0.3 * random(M, N, seed=10 * seed + 3)
        values[REAL][role] = sign * (F.normalize(inputs[role], dim=-1) @ direction_ND.T + noise)
        for place, name in enumerate(nulls):
            values[name][role] = random(M, N, seed=10 * seed + 4 + place)
    document = torch.from_numpy(panels["train"].document)
    groups = {name: Columns.of(value, document, 8, 0.9) for name, value in values.items()}
    return LayerData(3, panels, inputs, groups)


def texts(flip=False):
    """Readings along the first columns' directions; every entry chooses among three shared, some among their own."""
    direction_ND = F.normalize(random(N, D, seed=100), dim=-1)
    reading_CD = F.normalize(direction_ND[:TEXTS] + 0.1 * random(TEXTS, D, seed=5), dim=-1)
    candidates = {}
    for place, name in enumerate(GROUPS):
        draw = torch.Generator().manual_seed(200 + place)
        shared = torch.randint(TEXTS, (2, N, SHARED), generator=draw)
        shared[0, :TEXTS, 0] = torch.arange(TEXTS)  # one of them is right for "+"
        own = torch.full((2, N, 4), -1)
        own[:, ::4] = torch.randint(TEXTS, (2, N // 4, 4), generator=draw)
        candidates[name] = torch.cat([shared, own], -1)
    if flip:
        candidates = {name: candidate.flip(0) for name, candidate in candidates.items()}
    own = candidates[REAL][..., SHARED:]
    compared = {"verbalized": own[..., :2], "context_only": own[..., 2:]}
    return Texts(reading_CD, F.normalize(random(D, seed=7), dim=0), candidates, compared)


def score(data, said, seed=0):
    tokens = torch.randint(-1, VOCABULARY, (2, N, 6), generator=torch.Generator().manual_seed(11))
    return score_layer(
        data,
        said,
        RULES,
        min_passages=3,
        active_from=0.4,
        exemplar_token_2nK=tokens,
        vocabulary=VOCABULARY,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.fixture(scope="module")
def scored():
    return score(layer(), texts())


def decisions(scores):
    verdict = scores.verdict
    return [verdict.q, verdict.passes, verdict.reason, torch.tensor(verdict.bar), *scores.null_passes.values()]


def same(left, right):
    return all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in zip(left, right, strict=True))


def test_the_report_split_decides_nothing(scored):
    other = score(layer(seeds=(0, 1, 2, 9)), texts())
    assert 5 < int(scored.verdict.passes.sum()) < 2 * N
    assert same(decisions(other), decisions(scored))
    assert same(other.text.values(), scored.text.values())
    assert torch.equal(other.decide, scored.decide)
    assert not torch.equal(other.report, scored.report)


def test_the_deciding_split_chooses_no_text_and_gives_no_published_score(scored):
    other = score(layer(seeds=(0, 1, 8, 3)), texts())
    assert not same(decisions(other), decisions(scored))
    assert same(other.text.values(), scored.text.values())
    assert torch.equal(other.report, scored.report)
    assert same(other.baselines.values(), scored.baselines.values())


def test_the_choosing_split_chooses(scored):
    other = score(layer(seeds=(0, 7, 2, 3)), texts())
    assert not same(other.text.values(), scored.text.values())
    for name in ("skyline", "last_token", "token_list"):
        assert torch.equal(other.baselines[name], scored.baselines[name])


def test_a_neuron_turned_over_swaps_its_signs(scored):
    data = layer(sign=-1)
    other = score(data, texts(flip=True))
    for left, right in ((other.report, scored.report), (other.decide, scored.decide)):
        torch.testing.assert_close(left.flip(0), right, equal_nan=True)
    for name in ("skyline", "last_token", "context_only", "verbalized"):
        torch.testing.assert_close(other.baselines[name].flip(0), scored.baselines[name], equal_nan=True)
    torch.testing.assert_close(other.correlations.spearman.flip(0), scored.correlations.spearman, equal_nan=True)


def test_the_published_score_is_the_chosen_text_on_the_report_split(scored, naive_auroc):
    data, said = layer(), texts()
    mean = F.normalize(data.inputs["train"], dim=-1).mean(0)
    contexts = F.normalize(data.inputs["report"], dim=-1) - mean
    for sign, neuron in ((0, 0), (0, 4), (1, 4), (1, 17)):
        prediction = contexts @ (said.reading_CD[scored.text[REAL][sign, neuron]] - said.neutral_D)
        value = (1 - 2 * sign) * data.real.values["report"][:, neuron]
        label = value > data.real.threshold_2n[sign, neuron]
        assert float(scored.report[sign, neuron]) == pytest.approx(naive_auroc(prediction, label), abs=1e-5)


def test_own_candidates_count_only_where_there_are_some(scored):
    assert scored.baselines["context_only"][:, ::4].isfinite().all()
    assert scored.baselines["context_only"][:, 1::4].isnan().all()
    assert (scored.column[:, 1::4] < SHARED).all()


def test_rival_texts_are_chosen_on_select_and_stand_with_their_score(scored):
    said = texts()
    nobody = dataclasses.replace(said, compared={"context_only": said.candidates[REAL][..., SHARED:][..., 1:2]})
    alone = score(layer(), nobody)
    for name, few in said.compared.items():
        text = scored.compared[name]
        assert torch.equal(text >= 0, scored.baselines[name].isfinite())
        assert torch.equal((few == text[..., None]).any(-1), torch.ones_like(text, dtype=torch.bool))
    assert torch.equal(alone.compared["context_only"], said.compared["verbalized"][..., 1])
    assert not torch.equal(alone.compared["context_only"], scored.compared["verbalized"])


def test_strangers_have_as_many_candidates_and_never_their_own():
    own = torch.arange(2 * 9 * 4).view(2, 9, 4).clone()  # every text belongs to one entry
    own[:, 3:, 2:] = -1
    own[1, 8, 1] = -1  # alone with a single candidate
    own[0, 8] = -1  # and one with none
    other = strangers_candidates(own, torch.Generator().manual_seed(0))
    assert torch.equal((other >= 0).sum(-1), (own >= 0).sum(-1))
    assert not ((other[..., :, None] == own[..., None, :]) & (own >= 0)[..., None, :]).any()
    again = strangers_candidates(own, torch.Generator().manual_seed(1))
    assert not torch.equal(other, again)


def test_reasons_are_the_first_that_applies():
    area = torch.tensor([float("nan"), 0.5, 0.65, 0.9, *[0.95] * 6])
    last = torch.tensor([float("nan"), 0.5, 0.64, *[0.6] * 7])
    rival = torch.full((10,), -0.5)
    rival[3] = 0.29
    verdict = decide(RULES, area, last, rival)
    said = [REASONS[r] if r >= 0 else "" for r in verdict.reason.tolist()]
    assert said == ["few contexts", "prediction", "last token", "false discovery", *[""] * 6]
    assert verdict.passes.tolist() == [False] * 4 + [True] * 6
    assert verdict.bar == pytest.approx(0.33)


def test_a_null_passes_at_the_bar_and_above_its_rival():
    nan = float("nan")
    null, rival = torch.tensor([0.3, 0.3, 0.1, nan, 0.3]), torch.tensor([0.2, 0.3, 0.0, 0.0, nan])
    assert null_passes(0.2, null, rival).tolist() == [True, False, False, False, True]


def test_the_rate_of_nulls_is_not_bounded_by_the_rule(scored):
    """Nulls that the words do predict, as the neurons, have to show in the rate; those that they do not, must not."""
    data, said = layer(), texts()
    honest = score(data, said).null_passes[NULL]
    leaking = dataclasses.replace(data, groups={**data.groups, NULL: data.real})
    said = dataclasses.replace(said, candidates={**said.candidates, NULL: said.candidates[REAL]})
    found = score(leaking, said)
    assert torch.equal(found.verdict.passes, scored.verdict.passes)
    assert honest.float().mean() <= 0.05
    passing = scored.verdict.passes.sum()
    assert 0.7 * passing < found.null_passes[NULL].sum() < 1.3 * passing


def labels(data, role="report"):
    document = torch.from_numpy(data.panels[role].document)
    return Labels.of(data.real.values[role], data.real.threshold_2n, document, 3)


def test_the_last_token_table_against_a_loop(naive_auroc):
    data = layer()
    train_token, token = (torch.from_numpy(data.panels[role].token_id) for role in ("train", "report"))
    known = train_token >= 3  # three tokens are new to the table
    table = LastToken(train_token[known], VOCABULARY)
    found = table.auroc(data.real.values["train"][known], token, labels(data))
    active = labels(data).active(slice(0, N)).view(2, N, M)
    for sign, neuron in ((0, 0), (1, 0), (0, 23), (1, 39)):
        value = data.real.values["train"][known, neuron]
        seen = [train_token[known] == int(t) for t in token]
        mean = torch.stack([value[rows].mean() if rows.any() else value.mean() for rows in seen])
        expected = naive_auroc((1 - 2 * sign) * mean, active[sign, neuron])
        assert float(found[sign, neuron]) == pytest.approx(expected, abs=1e-5)


def test_the_token_list_and_the_skyline_against_loops(naive_auroc):
    data = layer()
    on_report = labels(data)
    active = on_report.active(slice(0, N)).view(2, N, M)
    token = torch.from_numpy(data.panels["report"].token_id)
    exemplar = torch.randint(-1, VOCABULARY + 1, (2, N, 6), generator=torch.Generator().manual_seed(11))
    listed = token_list(exemplar, token, VOCABULARY + 1, on_report)
    contexts = {role: F.normalize(values, dim=-1) for role, values in data.inputs.items()}
    found = skyline(contexts["train"], data.real.row_2nK, contexts["report"], on_report)
    for sign, neuron in ((0, 0), (1, 0), (0, 23), (1, 39)):
        count = (exemplar[sign, neuron] == token[:, None]).sum(-1)
        assert float(listed[sign, neuron]) == pytest.approx(naive_auroc(count, active[sign, neuron]), abs=1e-5)
        rows = [row for row in data.real.row_2nK[sign, neuron].tolist() if row >= 0]
        mean = contexts["train"][rows].mean(0)
        expected = naive_auroc(contexts["report"] @ mean, active[sign, neuron])
        assert float(found[sign, neuron]) == pytest.approx(expected, abs=1e-5)


def test_an_entry_active_in_few_passages_is_not_scored():
    data = layer()
    few = dataclasses.replace(labels(data), min_passages=81)
    assert not few.active(slice(0, N)).any()
    enough = dataclasses.replace(labels(data), min_passages=1)
    assert enough.active(slice(0, N)).any()
