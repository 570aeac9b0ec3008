"""`history.jsonl`: the learning curves of a stage as one JSON object per point, beside its outputs.

The report reads this file, never W&B. Points after the update that a stage resumes at are dropped, so that a killed
and resumed stage leaves the same file as one that ran through.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from nlae.errors import NlaeError

__all__ = ["History", "read_history"]


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
        kept = [point for point in _points(self.path) if (point["update"] or 0) <= update]
        new = self.path.with_name(self.path.name + ".new")
        new.write_text("".join(json.dumps(point) + "\n" for point in kept), encoding="utf-8")
        new.replace(self.path)


def read_history(path: Path) -> list[dict[str, float | None]]:
    """All points of a finished history, oldest first; each holds `update` and whatever was measured there.

    Raises:
        NlaeError: there is no such file.
    """
    if not path.exists():
        raise NlaeError(f"no learning curves at {path}: the stage that writes them has not run; rerun it")
    return _points(path)


def _points(path: Path) -> list[dict[str, float | None]]:
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:  # the line a kill cut short
            break
    return points


def _finite(value: float) -> float | None:
    number = float(value)
    return number if abs(number) != float("inf") and number == number else None
