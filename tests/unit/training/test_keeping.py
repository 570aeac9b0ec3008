"""Which weights a fit leaves: the rule on planted curves, and real fits whose held-out curves are planted."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from nlae.model.autoencoder import Autoencoder
from nlae.tracking import NullRun
from nlae.training.callbacks import Resume
from nlae.training.fit import fit
from nlae.training.keeping import KeepBest, Rule
from nlae.training.resuming import resume_update

UPDATES = 6
HARD, ROWS, KEPT = "val/retrieval_hard", "val/retrieval_rows", "val/kept_no_quotes"


def point(update: int, fve: float, kept: float = 1.0, hard: float = 0.5, rows: float = 100) -> dict[str, float]:
    return {"update": update, "val/fve": fve, KEPT: kept, HARD: hard, ROWS: rows}


def chosen(rule: Rule, *points: dict[str, float]) -> float | None:
    found = rule.choose(points)
    return None if found is None else found["update"]


def test_the_highest_fidelity_that_holds_the_floor():
    points = point(1, 0.2), point(2, 0.5, kept=0.4), point(3, 0.4, kept=0.7), point(4, 0.3)
    assert chosen(Rule(), *points) == 2
    assert chosen(Rule(at_least={KEPT: 0.6}), *points) == 3
    assert chosen(Rule(at_least={KEPT: 1.1}), *points) is None


def test_a_figure_that_is_undefined_holds_no_floor():
    without = {name: value for name, value in point(2, 0.9).items() if name != KEPT}
    assert chosen(Rule(at_least={KEPT: 0.1}), point(1, 0.1), without) == 1
    assert chosen(Rule(at_least={KEPT: 0.1}), point(1, 0.1), point(2, 0.9, kept=float("nan"))) == 1


@pytest.mark.parametrize(("rows", "expected"), [(20, 2), (2000, 1)])
def test_retrieval_may_lie_below_its_best_by_chance_alone(rows, expected):
    points = point(1, 0.3, hard=0.6, rows=rows), point(2, 0.4, hard=0.5, rows=rows)
    assert chosen(Rule(near_best=[HARD]), *points) == expected


def test_of_equals_the_earlier():
    assert chosen(Rule(), point(3, 0.4), point(1, 0.4), point(2, 0.1)) == 1


def test_no_point_that_is_let_go_would_have_been_chosen():
    rng = np.random.default_rng(0)
    rule = Rule(at_least={KEPT: 0.3}, near_best=[HARD])
    for _ in range(300):
        curve = [point(u, *np.round(rng.random(3), 1), rows=50) for u in range(6)]
        kept: set[float] = set()
        for seen in range(1, 7):
            now = curve[:seen]
            kept |= {now[-1]["update"]} if rule.holds_floors(now[-1]) else set()
            kept -= {p["update"] for p in now if rule.beaten(p, now)}
            choice = chosen(rule, *now)
            assert choice is None or choice in kept


class Kill(pl.Callback):
    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.update == self.after:
            raise InterruptedError("killed")


@pytest.fixture
def begin(warm, reinforce, serve):
    """A fit whose fidelity on held-out rows follows a planted curve."""

    def make(curve: list[float], start: int = 0, **how: Any):
        module = reinforce(Autoencoder.load(warm), UPDATES, validation={"planted": None}, keep=KeepBest(**how))
        module.validate_every = 1
        module.validate = lambda: {"val/fve": curve[module.update], KEPT: 1 - curve[module.update]}
        return module, serve("rollout", UPDATES, start, batch_size=4)

    return make


def weights_at(begin: Any, update: int, folder: Path) -> dict[str, torch.Tensor]:
    """What a fit has after some updates."""
    folder.mkdir()
    module, data = begin([float(u == update) for u in range(UPDATES + 1)])
    seen: dict[int, dict[str, torch.Tensor]] = {}

    class See(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen[pl_module.update] = {name: w.clone() for name, w in pl_module.trained_state().items()}

    fit(module, data, folder, run=NullRun(), callbacks=[See()])
    return seen[update]


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(weight, wanted[name]) for name, weight in found.items())


def test_a_fit_leaves_the_weights_of_its_best_point_also_after_a_kill(begin, tmp_path):
    curve = [0.1, 0.2, 0.3, 0.6, 0.5, 0.4, 0.3]
    wanted = weights_at(begin, 3, tmp_path / "seen")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()

    module, data = begin(curve)
    fit(module, data, whole, run=NullRun(), callbacks=[Resume(2)])
    assert module.update == UPDATES
    assert same(module.trained_state(), wanted)
    assert (module.metrics["val/fve"], module.metrics["kept_update"]) == (0.6, 3)
    record = json.loads((whole / "kept.json").read_text())
    assert record["update"] == 3
    assert "highest val/fve" in record["reason"]

    module, data = begin(curve)
    with pytest.raises(InterruptedError):
        fit(module, data, killed, run=NullRun(), callbacks=[Resume(2), Kill(5)])
    for _ in range(2):  # resumed, and then finished but killed before the stage could write its manifest
        module, data = begin(curve, resume_update(killed))
        fit(module, data, killed, run=NullRun(), callbacks=[Resume(2)])
        assert same(module.trained_state(), wanted)
        assert module.metrics["kept_update"] == 3
        assert json.loads((killed / "kept.json").read_text()) == record


def test_where_no_point_holds_the_rule_the_last_weights_stay_and_it_is_said(begin, tmp_path, caplog):
    module, data = begin([0.1] * 7, at_least={KEPT: 2.0})
    fit(module, data, tmp_path, run=NullRun())
    assert "kept_update" not in module.metrics
    assert "val/kept_no_quotes >= 2" in caplog.text
    assert json.loads((tmp_path / "kept.json").read_text())["update"] == UPDATES


def test_weights_of_points_that_can_no_longer_be_chosen_are_let_go(begin, tmp_path):
    module, data = begin([0.1, 0.2, 0.3, 0.6, 0.5, 0.4, 0.3])
    fit(module, data, tmp_path, run=NullRun())
    assert [path.name for path in (tmp_path / "resume" / "kept").iterdir()] == ["3.safetensors"]


def test_the_warm_start_itself_may_be_the_best(begin, warm, tmp_path):
    module, data = begin([0.9, *itertools.repeat(0.1, UPDATES)])
    before = {name: weight.clone() for name, weight in Autoencoder.load(warm).trained_state().items()}
    fit(module, data, tmp_path, run=NullRun())
    assert module.metrics["kept_update"] == 0
    assert same(module.trained_state(), before)
