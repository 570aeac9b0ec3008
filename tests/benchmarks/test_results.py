"""What becomes of repetitions: medians, ratios, refusals, the results file, the tables."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from experiments.benchmarks import results, roofs
from experiments.benchmarks.results import Measured
from experiments.benchmarks.run import Contender, dtypes_of, fastest
from experiments.benchmarks.session import CommandsEndedError, Session


def measured(seconds: list[float], units: int = 100, **how: Any) -> Measured:
    return Measured(seconds, [units] * len(seconds), [10**9] * len(seconds), **how)


def row(ours: Measured, theirs: Measured, **how: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"target": 1.5, "tolerance": 1e-3, "flops": 4e9, "roof": 1e10, "about": {"model": "m"}}
    return results.row("extraction", "hf", "tokens/s", ours, theirs, **given | how)


def test_rate_is_the_median_and_the_ratio_is_of_medians() -> None:
    made = row(measured([1.0, 2.0, 50.0]), measured([4.0, 4.0, 4.0]))
    assert made["ours"] == 50.0
    assert made["theirs"] == 25.0
    assert made["ratio"] == 2.0
    assert made["met"] is True


def test_share_of_the_roof_is_least_arithmetic_over_time() -> None:
    # 4 GFLOP in 2 s on a machine of 10 GFLOP/s
    assert row(measured([2.0]), measured([2.0]))["roof_share"] == pytest.approx(0.2)


def test_a_missed_target_says_so() -> None:
    made = row(measured([3.0]), measured([4.0]))
    assert made["met"] is False
    assert "missed" in " ".join(results.cells(made))
    assert row(measured([3.0]), measured([4.0]), target=None)["met"] is None


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (measured([1.0], 100), measured([1.0], 99), "unequal work"),
        (measured([1.0], check=[1.0]), measured([1.0], check=[1.1]), "differ by 0.1"),
        (measured([1.0], check=[1.0]), measured([1.0], check=[1.0, 2.0]), "differ by inf"),
        (measured([1.0]), measured([], problem="no wheel"), "no wheel"),
        (measured([], problem="broken"), measured([1.0]), "ours: broken"),
        (measured([1.0]), measured([]), "no repetition"),
    ],
    ids=["count", "numbers", "shape", "peer", "ours", "nothing"],
)
def test_no_ratio_without_equal_work(ours: Measured, theirs: Measured, said: str) -> None:
    made = row(ours, theirs)
    assert made["ratio"] is None
    assert made["met"] is None
    assert said in made["not_run"]
    assert "not run" in " ".join(results.cells(made))


def test_differences_are_relative_and_need_both_sides() -> None:
    assert results.difference([10.0, -20.0], [10.0, -19.0]) == pytest.approx(0.05)
    assert results.difference(None, [1.0]) is None


def test_rows_replace_those_of_the_same_work_peer_and_model(tmp_path: Path) -> None:
    path = tmp_path / "kind.json"
    first, second = row(measured([1.0]), measured([2.0])), row(measured([1.0]), measured([3.0]))
    other = row(measured([1.0]), measured([2.0]), about={"model": "n"})
    results.merge(path, [first, other])
    held = results.merge(path, [second])
    assert [one["ratio"] for one in held] == [3.0, 2.0]
    assert json.loads(path.read_text()) == held


def test_a_peer_that_was_only_left_out_keeps_what_was_measured(tmp_path: Path) -> None:
    path, done = tmp_path / "kind.json", row(measured([1.0]), measured([2.0]))
    left_out = row(measured([1.0]), Measured(problem=results.LEFT_OUT))
    assert results.merge(path, [left_out]) == [left_out]
    results.merge(path, [done])
    assert results.merge(path, [left_out]) == [done]
    failed = row(measured([1.0]), Measured(problem="no wheel"))
    assert results.merge(path, [failed]) == [failed]


def test_readme_keeps_what_stands_around_the_tables(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{results.START}\nold\n{results.END}\nafter\n")
    table = results.markdown("cpu-2core", [row(measured([1.0]), measured([2.0]))])
    results.write_readme(readme, table)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    line = "| extraction | hf | – / – | 100 | 50 | tokens/s | 2.00 | ≥ 1.5 met | 40% | 1.00 GB / 1.00 GB |"
    assert line in text


def test_a_peer_is_compared_by_the_type_that_suits_it() -> None:
    who = {Contender("hf", "float32"): measured([4.0]), Contender("hf", "bfloat16"): measured([2.0])}
    assert fastest("hf", who) == (who[Contender("hf", "bfloat16")], "bfloat16")
    who[Contender("hf", "bfloat16")].problem = "no kernel"
    assert fastest("hf", who)[1] == "float32"
    assert fastest("trl", who)[0].problem == results.LEFT_OUT


@pytest.mark.parametrize("given", ["float16", "", ","])
def test_a_type_that_is_not_measured_is_refused(given: str) -> None:
    with pytest.raises(SystemExit, match="choose from float32, bfloat16"):
        dtypes_of(given)
    assert dtypes_of("bfloat16, float32,bfloat16") == ["bfloat16", "float32"]


def test_the_roof_is_that_of_the_fastest_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that agree, one of them slow: the rate that shares are taken of is the fast one's."""
    left, right = torch.randn(64, 64), torch.randn(64, 64)
    ways = roofs.kernels(left, right)
    for made in ways.values():
        torch.testing.assert_close(made(), left @ (right if made is ways["torch"] else right.T))
    answers: list[dict[str, float]] = []

    class OneRound(Session):
        def __init__(self) -> None:
            self.rounds = 0

        def ready(self) -> None: ...

        def start(self) -> None: ...

        def wait(self) -> dict[str, Any]:
            self.rounds += 1
            if self.rounds > 1:
                raise CommandsEndedError
            return {"do": "run"}

        def done(self, units: int, **more: float) -> None:
            answers.append(more)

    seconds = iter([2.0, 1.0, 5.0])
    monkeypatch.setattr(roofs, "kernels", lambda a, b: {"torch": a.clone, "onednn": a.clone})
    monkeypatch.setattr(roofs, "best", lambda do, device: next(seconds))
    with pytest.raises(CommandsEndedError):
        roofs.measure(SimpleNamespace(device="cpu", dtype="float32"), OneRound())  # type: ignore[arg-type]
    assert answers[0]["flops"] == answers[0]["flops_onednn"] == 2 * 2048**3
    assert answers[0]["flops_torch"] == 2048**3
