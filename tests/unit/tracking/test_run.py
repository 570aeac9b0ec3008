"""A real offline W&B run, read back from its own file by W&B's own reader."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nlae.errors import NlaeError
from nlae.tracking import NullRun, Run, TrackingSettings, open_run
from offline_runs import of_kind, open_one, records


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("tracking")
    page = folder / "page.html"
    page.write_text("<p>naïve</p>", encoding="utf-8")
    with open_one(folder) as run:
        for update in (10, 20, 30):
            run.log({"loss": 1 / update}, update=update)
        run.table("explanations", ["row", "explanation"], [[1, "a law text"], [2, "a poem"]])
        run.html("report", page)
        run.summary({"fve": 0.25})
        # more figures than W&B allows as keys of an artifact
        run.summary({f"control/{number}": 0.0 for number in range(150)})
        directory = run.directory
    return directory, records(directory)


def test_run_carries_group_stage_and_config_without_secrets(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    directory, found = finished
    (run,) = of_kind(found, "run")
    assert (run["run_group"], run["job_type"], run["project"]) == ("quickstart", "warmstart", "nlae")
    config = run["config"]["update"]
    assert config["seed"] == 3
    assert config["fingerprint"] == "abcdef0123456789"
    assert config["parents"] == {"extract": "00ff"}
    assert config["teacher"]["api_key"] == "***"
    assert config["versions"]["torch"]
    for path in directory.rglob("*"):
        assert not (path.is_file() and b"sk-very-secret" in path.read_bytes()), path


def test_curves_have_update_as_their_axis(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    _, found = finished
    assert {"glob_name": "*", "step_metric": "update"}.items() <= of_kind(found, "metric")[1].items()
    points = [record["item"] for record in of_kind(found, "history") if "loss" in record["item"]]
    assert [(point["update"], point["loss"]) for point in points] == [
        (10, 0.1),
        (20, 0.05),
        (30, pytest.approx(1 / 30)),
    ]


def test_table_and_page_are_stored_as_given(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    directory, _ = finished
    (table,) = directory.rglob("*.table.json")
    stored = json.loads(table.read_text())
    assert stored["columns"] == ["row", "explanation"]
    assert stored["data"] == [[1, "a law text"], [2, "a poem"]]
    (page,) = directory.rglob("*.html")
    assert page.read_text(encoding="utf-8") == "<p>naïve</p>"


def test_a_complete_run_exits_with_zero_and_leaves_its_lineage(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    _, found = finished
    assert of_kind(found, "exit")[0].get("exit_code", 0) == 0
    lineage = [artifact for artifact in of_kind(found, "artifact") if artifact["type"] == "warmstart"]
    assert lineage[0]["name"] == "warmstart-abcdef0123456789"
    metadata = json.loads(lineage[0]["metadata"])
    assert metadata["parents"] == {"extract": "00ff"}
    assert metadata["metrics"]["fve"] == 0.25


def test_an_exception_finishes_the_run_as_failed_and_the_next_is_another(tmp_path: Path) -> None:
    opened: list[Run] = []

    def fail() -> None:
        with open_one(tmp_path) as run:
            opened.append(run)
            run.log({"loss": 1.0}, update=1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    (first,) = opened
    with open_one(tmp_path, stage="evaluate") as second:
        second.log({"fve": 0.5})
    assert first.directory != second.directory
    failed, complete = records(first.directory), records(second.directory)
    assert of_kind(failed, "exit")[0]["exit_code"] == 1
    assert of_kind(complete, "run")[0]["job_type"] == "evaluate"
    assert not [record for record in of_kind(complete, "history") if "loss" in record["item"]]
    assert not [artifact for artifact in of_kind(failed, "artifact") if artifact["type"] == "warmstart"]


def test_no_logger_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_run(settings={"mode": "none"}, stage="corpus", group="g", fingerprint="ff") as run:
        assert isinstance(run, NullRun)
        run.log({"loss": 1.0}, update=1)
        run.table("t", ["a"], [[1]])
        run.html("page", tmp_path / "absent.html")
        run.summary({"fve": 1.0})
        assert run.directory is None
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_run_has_the_same_methods() -> None:
    from nlae.tracking.run import WandbRun

    public = {name for name in vars(Run) if not name.startswith("_") and callable(getattr(Run, name))}
    assert public <= set(vars(WandbRun)), "a method of Run that WandbRun does not implement records nothing"


def test_unknown_mode_is_a_readable_error() -> None:
    with pytest.raises(NlaeError, match=r"logger\.mode='ofline' is unknown: use offline, online or none"):
        TrackingSettings(mode="ofline")


def test_online_without_a_key_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "from nlae.tracking import open_run\n"
        f"settings = {{'mode': 'online', 'dir': {str(tmp_path)!r}}}\n"
        "with open_run(settings=settings, stage='s', group='g', fingerprint='f'): pass"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert run.returncode != 0
    assert "NlaeError: W&B opened no run (logger.mode=online)" in run.stderr
    assert "logger.mode=offline" in run.stderr
