"""Which of the validated weights a fit leaves: one rule over the held-out curves, read off `history.jsonl` at the end.

Fidelity alone may rise while the words become less faithful, so the rule is the highest `metric` among the points that
hold every floor and whose `near_best` figures are not significantly below the best seen. Since a later point may set
a new best, weights are kept of every point that could still be chosen: one that no other beats in both. The test split
never enters. Early stopping is another part (`nlae.training.stopping`).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from safetensors.torch import load_file, save_file

from nlae.errors import NlaeError
from nlae.model.learner import Learner
from nlae.tracking.history import HISTORY, points_of
from nlae.training.callbacks import folder_of

logger = logging.getLogger(__name__)

FOLDER, RECORD = "kept", "kept.json"
Point = Mapping[str, float]


class Rule:
    """Highest `metric`, subject to floors and to figures that may not lie far below their best.

    Args:
        metric: what is to be high.
        at_least: floors by name of a figure; a point without the figure does not hold its floor.
        near_best: names of shares; a point whose share lies below the best of all points by more than chance (two
            shares of `rows` draws each, one-sided 5 %) is out. The rows are the same at all points, so that this is
            cautious.
        rows: name of the figure that counts the draws.
    """

    def __init__(
        self,
        metric: str = "val/fve",
        at_least: Mapping[str, float] | None = None,
        near_best: Sequence[str] = (),
        rows: str = "val/retrieval_rows",
    ) -> None:
        self.metric, self.at_least, self.near_best, self.rows = metric, dict(at_least or {}), list(near_best), rows

    def measured(self, point: Point) -> bool:
        """Whether the point is of a validation that measured `metric`."""
        return _known(point, self.metric)

    def holds_floors(self, point: Point) -> bool:
        """Whether every floor is held."""
        return all(_known(point, name) and point[name] >= least for name, least in self.at_least.items())

    def near(self, point: Point, best: Mapping[str, Point]) -> bool:
        """Whether no `near_best` figure lies significantly below the best of its name."""
        return all(
            not _known(top, name) or (_known(point, name) and not _below(point, top, name, self.rows))
            for name, top in best.items()
        )

    def choose(self, points: Sequence[Point]) -> Point | None:
        """The point to keep; None where none may be."""
        best = {name: max(points, key=lambda p: p[name] if _known(p, name) else -math.inf) for name in self.near_best}
        allowed = [p for p in points if self.measured(p) and self.holds_floors(p) and self.near(p, best)]
        # of equals that which is better in the rest, and of these the earlier: as `beaten` has it
        names = [self.metric, *self.near_best]
        return max(allowed, key=lambda p: (*(_value(p, n) for n in names), -p["update"])) if allowed else None

    def beaten(self, point: Point, points: Sequence[Point]) -> bool:
        """Whether another point is at least as good in all that the rule looks at, so that this one is never chosen."""
        names = [self.metric, *self.near_best]

        def covers(other: Point) -> bool:
            pairs = [(_value(other, name), _value(point, name)) for name in names]
            earlier = other["update"] < point["update"]
            return all(a >= b for a, b in pairs) and (earlier or any(a > b for a, b in pairs))

        return any(self.holds_floors(other) and covers(other) for other in points if other is not point)


class KeepBest(pl.Callback):
    """Leaves the fit with the weights that `rule` chooses, and says which and why in `kept.json`.

    Where no point may be chosen, the last weights stay and the log says so. Fits that never measure the rule's metric
    (those of one half alone) are left as they end.

    Args:
        metric, at_least, near_best, rows: see `Rule`.
    """

    def __init__(
        self,
        metric: str = "val/fve",
        at_least: Mapping[str, float] | None = None,
        near_best: Sequence[str] = (),
        rows: str = "val/retrieval_rows",
    ) -> None:
        self.rule = Rule(metric, at_least, near_best, rows)
        self._folder: Path | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Find the stage's folder."""
        self._folder = folder_of(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keep the weights before the first update: a fit may do harm from its start."""
        if pl_module.update == 0:
            self._keep(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the weights of a validated update, and let go of those that can no longer be chosen."""
        self._keep(pl_module)

    def _keep(self, module: Learner) -> None:
        if self._folder is None or not self.rule.measured(module.metrics):
            return
        point = {**module.metrics, "update": float(module.update)}
        points = [*(p for p in _points(self._folder) if p["update"] < module.update), point]
        if not self.rule.holds_floors(point):
            return
        path = _weights(self._folder, module.update)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        save_file({name: weight.contiguous().cpu() for name, weight in module.trained_state().items()}, str(new))
        new.replace(path)
        for other in points:
            if self.rule.beaten(other, points):
                _weights(self._folder, int(other["update"])).unlink(missing_ok=True)

    def conclude(self, module: Learner, folder: Path) -> None:
        """Bring back the chosen weights and their figures; called once, when the last update is done.

        Raises:
            NlaeError: the chosen weights are gone.
        """
        points = [point for point in _points(folder) if self.rule.measured(point)]
        if not points:
            return
        chosen = self.rule.choose(points)
        record = {"metric": self.rule.metric, "at_least": self.rule.at_least, "near_best": self.rule.near_best}
        if chosen is None:
            logger.warning(
                "objective.keep: none of %d validated points holds %s; the last weights are kept",
                len(points),
                ", ".join(f"{name} >= {least:g}" for name, least in self.rule.at_least.items()) or "the rule",
            )
            _record(folder, {**record, "update": module.update, "reason": "no point holds the rule; the last is kept"})
            return
        update = int(chosen["update"])
        if update != module.update:
            path = _weights(folder, update)
            if not path.is_file():
                raise NlaeError(f"{path} is gone: it holds the weights of update {update}, which the rule keeps")
            module.load_trained_state(load_file(str(path)))
            module.metrics = {name: value for name, value in chosen.items() if name != "update"}
        module.metrics["kept_update"] = float(update)
        reason = f"highest {self.rule.metric} of the points that hold the rule"
        _record(folder, {**record, "update": update, "reason": reason, "figures": _shown(chosen, self.rule)})


def _known(point: Point, name: str) -> bool:
    value = point.get(name)
    return value is not None and math.isfinite(value)


def _value(point: Point, name: str) -> float:
    return point[name] if _known(point, name) else -math.inf


def _below(point: Point, best: Point, name: str, rows: str) -> bool:
    variances = [p[name] * (1 - p[name]) / max(1.0, _value(p, rows)) for p in (point, best)]
    return best[name] - point[name] > 1.645 * math.sqrt(sum(variances))


def _points(folder: Path) -> list[dict[str, float]]:
    path = folder / HISTORY
    if not path.is_file():
        return []
    return [{name: value for name, value in p.items() if value is not None} for p in points_of(path)]


def _weights(folder: Path, update: int) -> Path:
    return folder / "resume" / FOLDER / f"{update}.safetensors"


def _shown(point: Point, rule: Rule) -> dict[str, float]:
    return {name: point[name] for name in (rule.metric, *rule.at_least, *rule.near_best) if _known(point, name)}


def _record(folder: Path, record: Mapping[str, Any]) -> None:
    new = folder / f"{RECORD}.new"
    new.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    new.replace(folder / RECORD)
