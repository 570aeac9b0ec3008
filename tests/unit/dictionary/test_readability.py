"""The linear ceiling of a layer's neurons, on the panels of a real scan and through the real injection."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from nlae.dictionary.score.readability import ceiling

sys.path.insert(0, str(Path(__file__).parent))
import planted

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
    speaker = planted.speaker(scanned.target, scanned.scan)
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
