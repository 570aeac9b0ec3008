"""The linear ceiling of a layer's neurons, on the panels of a real scan and through the real injection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import planted
from nlae.dictionary.columns import read_layer
from nlae.dictionary.corpus_view import CorpusView
from nlae.dictionary.describe.candidates import Sample, plan_texts
from nlae.dictionary.job import Job, _readable
from nlae.dictionary.scan.decoys import token_counts
from nlae.dictionary.score.readability import ceiling, raw
from nlae.dictionary.settings import DictionarySettings
from nlae.evaluation.neurons import linear_ceiling
from nlae.target import TinyTarget

LAYER = 1


def panels(scan):
    return {role: scan.panel(role).neurons(LAYER) for role in ("train", "select", "report")}


def test_neurons_that_are_injected_as_they_are_are_read_and_the_others_are_not(scanned):
    values = panels(scanned.scan)
    values["train"][:, -1] = torch.randn(len(values["train"]), generator=torch.Generator().manual_seed(0))
    values["select"][:, -1] = torch.randn(len(values["select"]), generator=torch.Generator().manual_seed(1))
    values["report"][:, -1] = torch.randn(len(values["report"]), generator=torch.Generator().manual_seed(2))
    values["report"][:, 0] = values["train"][:, 0].double().mean().float()  # says nothing about a map
    found_N = ceiling(lambda part_BN: part_BN[:, :20], values, values)
    assert found_N.shape == (scanned.scan.width,)
    assert found_N[1:20].min() > 0.99
    assert found_N[-1] < 0.1


def test_the_ceiling_is_what_ridge_makes_of_the_down_projection(scanned):
    values = panels(scanned.scan)
    # its own: the roles' adapters stay on the model that a mixture is made of
    speaker = planted.speaker(TinyTarget(layers=3).load(), scanned.scan)
    found_N = ceiling(lambda part_BN: speaker.inject(LAYER, part_BN), values, values)
    down_DN = scanned.target.model.model.layers[LAYER].mlp.down_proj.weight.detach().double().numpy()
    y = {role: value_MN.double().numpy() for role, value_MN in values.items()}
    x = {role: value_MN @ down_DN.T for role, value_MN in y.items()}
    mean_D, mean_N = x["train"].mean(0), y["train"].mean(0)
    centred = x["train"] - mean_D
    gram = centred.T @ centred
    by_penalty = []
    for penalty in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0):
        eye = penalty * np.trace(gram) / len(gram) * np.eye(len(gram))
        weight_DN = np.linalg.solve(gram + eye, centred.T @ (y["train"] - mean_N))
        of = {role: mean_N + (x[role] - mean_D) @ weight_DN for role in ("select", "report")}
        by_penalty.append([1 - ((y[r] - of[r]) ** 2).sum(0) / ((y[r] - mean_N) ** 2).sum(0) for r in of])
    on_select, on_report = np.asarray(by_penalty).transpose(1, 0, 2)
    wanted_N = np.take_along_axis(on_report, on_select.argmax(0)[None], 0)[0]
    np.testing.assert_allclose(found_N.numpy(), wanted_N, atol=1e-3)
    assert 0.05 < np.median(wanted_N) < 0.999


def test_no_row_has_a_part_in_its_own_length():
    direction = F.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(3)), dim=-1)
    length = torch.tensor([2.0, 2.0, 2.0, 10.0, 10.0, 10.0])
    found = raw(direction, None, direction * length[:, None])
    # each half takes what fits the other
    torch.testing.assert_close(found.norm(dim=-1), length.flip(0))
    torch.testing.assert_close(F.normalize(found, dim=-1), direction)
    torch.testing.assert_close(raw(direction, length, direction), direction * length[:, None])


class Exact:
    """Reads from words that are row numbers the true direction, and injects the first 20 neurons."""

    def __init__(self, rows):
        self.rows = rows

    def rebuild(self, layer, texts):
        return F.normalize(self.rows[[int(text) for text in texts]], dim=-1), None

    def inject(self, layer, activation):
        return activation[:, :20]


def test_both_are_measured_on_the_contexts_that_were_written(scanned, tmp_path):
    settings = DictionarySettings(readable_rows=12)
    counts = token_counts(scanned.corpus)
    data = read_layer(scanned.scan, LAYER, counts, count=8, quantile=0.95, rotated=0, seed=0)
    n_report = len(data.panels["report"])
    plan = plan_texts(data.groups, {}, contexts=2, held_out=12, n_train=300, n_report=n_report)
    rows = [plan.requests[place].context for place in plan.held_out]
    report = data.real.values["report"]
    report[[row for row in range(n_report) if row not in rows]] = 1e3  # nobody may look at these
    view = CorpusView(scanned.corpus, scanned.target.tokenizer)
    speaker = Exact(report)
    job = Job(scanned.scan, view, speaker, settings, lambda layer: None, tmp_path, {LAYER: Sample.none()})
    r2, top = _readable(job, data, plan, ["0", "0", *map(str, rows)])
    values = data.real.values
    sides = [(values[role][:, :20], values[role]) for role in ("train", "select")]
    wanted, _ = linear_ceiling(*sides, (report[rows][:, :20], report[rows]))
    torch.testing.assert_close(top, wanted)
    assert 0 < r2.nanmedian() < 1
    halves = report[rows][:6], report[rows][6:]
    unit = [F.normalize(half, dim=-1) for half in halves]
    scale = [float((u * h).sum() / u.square().sum()) for u, h in zip(unit, halves, strict=True)]
    said = torch.cat([unit[0] * scale[1], unit[1] * scale[0]])
    mean = values["train"].mean(0)
    by_hand = 1 - (report[rows] - said).square().sum(0) / (report[rows] - mean).square().sum(0)
    torch.testing.assert_close(r2.float(), by_hand, atol=1e-3, rtol=1e-3)


def test_one_row_is_refused():
    with pytest.raises(Exception, match=r"readable_rows=1: take 0, or 2"):
        DictionarySettings(readable_rows=1)
