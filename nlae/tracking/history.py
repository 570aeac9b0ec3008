"""`history.jsonl`: the learning curves of a stage as one JSON object per point, beside its outputs.

The report reads this file, never W&B. Points after the update that a stage resumes at are dropped, so that a killed
and resumed stage leaves the same file as one that ran through; its last W&B run gets the points from here.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from nlae.files.arrow import write_text
from nlae.files.foreign import parse_json
from nlae.tracking.run import Relayed, Run

HISTORY = "history.jsonl"

__all__ = ["HISTORY", "History", "Recorded", "Replayed", "points_of"]


class History:
    """Appends points to `path`; every point is on disk before `append` returns.

    Args:
        path: the file; made on the first point.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, update: int, metrics: Mapping[str, float]) -> None:
        """Add one point; values that are no finite number are written as null, which JSON can hold."""
        point = {"update": update, **{name: _finite(value) for name, value in metrics.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")

    def rewind(self, update: int) -> None:
        """Forget points after `update`, and a last line that a kill cut short."""
        if not self.path.exists():
            return
        kept = [point for point in points_of(self.path) if (point["update"] or 0) <= update]
        write_text(self.path, "".join(json.dumps(point) + "\n" for point in kept))


class Recorded(Relayed):
    """A run whose points go to `history.jsonl` first; a stage that resumes forgets those it measures again.

    Args:
        run: where the points go afterwards.
        folder: the stage's folder.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        super().__init__(run)
        self._history = History(folder / HISTORY)
        self._first = True

    def log(self, metrics: Mapping[str, float], update: int | None = None) -> None:
        """Add one point to each named curve."""
        if update is not None:
            if self._first:
                self._history.rewind(update - 1)
            self._first = False
            self._history.append(update, metrics)
        super().log(metrics, update)


class Replayed(Relayed):
    """A run that holds every point of a stage once, those of killed executions too.

    What `history.jsonl` holds of earlier updates goes in before the first point of this execution, or at the end if
    there is none.

    Args:
        run: a fresh one.
        folder: the stage's folder.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        super().__init__(run)
        self._path = folder / HISTORY
        # what a fresh stage will write itself is not replayed
        self._waiting = self._path.exists()

    def log(self, metrics: Mapping[str, float], update: int | None = None) -> None:
        """Add one point to each named curve."""
        if update is not None:
            self._replay(update)
        super().log(metrics, update)

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Set the figures that stand for the whole run."""
        self._replay(None)
        super().summary(metrics)

    def _replay(self, before: int | None) -> None:
        if not self._waiting:
            return
        self._waiting = False
        for point in points_of(self._path):
            update = int(point["update"] or 0)
            if before is None or update < before:
                known = {name: value for name, value in point.items() if name != "update" and value is not None}
                super().log(known, update)


def points_of(path: Path) -> list[dict[str, float | None]]:
    """All points of a history; a last line that a kill cut short is left out."""
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(parse_json(line))
        except json.JSONDecodeError:  # the line a kill cut short
            break
    return points


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
