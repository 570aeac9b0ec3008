import json
from pathlib import Path
from typing import Any

from nlae.tracking.history import History


def points(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_points_come_back_in_order_with_null_for_non_finite(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append(1, {"loss": 0.5})
    history.append(2, {"loss": float("nan"), "val/fve": float("-inf")})
    assert points(history.path) == [{"update": 1, "loss": 0.5}, {"update": 2, "loss": None, "val/fve": None}]


def test_rewind_drops_later_points_and_a_torn_line(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    for update in range(1, 6):
        history.append(update, {"loss": float(update)})
    with history.path.open("a") as file:
        file.write('{"update": 6, "lo')
    history.rewind(3)
    assert [point["update"] for point in points(history.path)] == [1, 2, 3]
    history.append(4, {"loss": 4.0})
    assert len(history.path.read_text().splitlines()) == 4
