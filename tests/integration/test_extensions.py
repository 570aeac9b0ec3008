"""Parts of a package outside of nlae, each a class and a line of config: named, built, used, and hashed."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from nlae.cli import main
from nlae.config.build import make_findable
from nlae.config.compose import compose_plain, search_path
from nlae.pipeline.plan import Plan

HERE = Path(__file__).parents[1] / "helpers" / "extension"
SMOKE = ["target=tiny", "debug=smoke", "logger=none"]
PARTS = [
    "corpus=diaries",
    "teacher=first_words",
    "+reward.terms.echo._target_=own_parts.reward.Echo",
    "objective.policy_loss._target_=own_parts.policy.BestAndWorst",
    "~objective.policy_loss.clip",
    "+callbacks.tally._target_=own_parts.callback.Tally",
    "+evaluation.measures.copied._target_=own_parts.measure.Copied",
    "evaluation.measures.frontier=null",
    "evaluation.min_clusters=2",  # so few works as a smoke run has give no interval
]


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_parts"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folders of all stages up to evaluate, made of the package's parts."""
    folder, path = tmp_path_factory.mktemp("extensions"), list(sys.path)
    try:
        words = [*SMOKE, *PARTS, f"+callbacks.tally.path={folder}/tally.txt", f"paths.artifacts={folder}/artifacts"]
        assert main(["evaluate", "--config-dir", str(HERE / "conf"), *words]) == 0
    finally:
        sys.path[:] = path
        forget()
    return {path.parents[1].name: path.parent for path in (folder / "artifacts").glob("*/*/manifest.json")}


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_the_corpus_is_the_users(made):
    numbers = json.loads((made["corpus"] / "metrics.json").read_text())
    assert numbers["documents"] > 0
    assert set(manifest(made["corpus"])["hashed"]["sources"]) == {"own_parts.corpus.Diaries"}


def test_the_teacher_is_the_users_and_is_not_asked_again_for_another_target(made):
    hashed = manifest(made["describe"])["hashed"]
    assert hashed["config"]["teacher"] == {"_target_": "own_parts.teacher.FirstWords", "words": 4}
    assert hashed["outside"] == {"teacher_target": "", "teacher_dtype": ""}
    assert json.loads((made["describe"] / "metrics.json").read_text())["failed"] == 0


def test_a_reward_sees_the_context_and_its_mean_is_written_by_its_name(made):
    updates = [point for point in history(made["reinforce"]) if "reward/echo" in point]
    assert len(updates) == 3
    assert all(-0.5 <= point["reward/echo"] <= 0 for point in updates)
    total = [point["reward/fidelity"] + point["reward/length"] + point["reward/echo"] for point in updates]
    assert all(isinstance(value, float) for value in total)


def test_a_policy_loss_is_the_users(made):
    assert manifest(made["reinforce"])["hashed"]["config"]["objective"]["policy_loss"] == {
        "_target_": "own_parts.policy.BestAndWorst"
    }


def test_a_measure_puts_its_figure_with_interval_beside_a_null(made):
    numbers = json.loads((made["evaluate"] / "metrics.json").read_text())
    for name in ("copied", "copied_null", "copied_gap"):
        assert numbers[f"{name}_low"] <= numbers[name] <= numbers[f"{name}_high"]
    assert numbers["copied_gap"] == pytest.approx(numbers["copied"] - numbers["copied_null"])
    rows = pl.read_parquet(made["evaluate"] / "rows.parquet").filter(~pl.col("early"))
    assert numbers["copied"] == pytest.approx(rows["copied"].mean())
    assert not [key for key in numbers if key.startswith("frontier/")], "left out by null"
    assert "own_parts.measure.Copied" in manifest(made["evaluate"])["hashed"]["sources"]


def test_a_callback_sees_every_update_and_is_not_hashed_if_it_only_observes(made):
    seen = Counter((made["reinforce"].parents[2] / "tally.txt").read_text().split())
    assert seen["Reinforce"] == 3
    assert manifest(made["reinforce"])["hashed"]["config"]["callbacks"] == {}


def test_a_callback_that_is_null_is_left_out(tmp_path, capsys):
    words = ["verbalizer", "target=tiny", "debug=smoke", "corpus=stdlib", "logger=none", f"paths.artifacts={tmp_path}"]
    assert main([*words, "callbacks.progress=null"]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert (folder / "history.jsonl").is_file()


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Fingerprints of all stages with a copy of the package, in which a text of one file may be replaced."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copytree(HERE, tmp_path / "copy")

    def fingerprints(name="", old="", new=""):
        forget()
        file = tmp_path / "copy" / "own_parts" / f"{name or 'reward'}.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new) if old else text)
        folder = str(tmp_path / "copy" / "conf")
        composed = compose_plain([*search_path(folder), *SMOKE, *PARTS, "+callbacks.tally.path=tally.txt"])
        make_findable(composed.config, composed.folders)
        made = Plan(composed.config)
        found = {stage: made.artifact(stage).fingerprint for stage in made.order("evaluate")}
        file.write_text(text)
        return found

    yield fingerprints
    forget()


AFTER_REINFORCE = {"reinforce", "evaluate"}
TRAINED = {"verbalizer", "reconstructor", "warmstart", *AFTER_REINFORCE}
AFTER_DESCRIBE = {"describe", *TRAINED}
AFTER_CORPUS = {"corpus", "extract", *AFTER_DESCRIBE}


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("reward", "max(1,", "max(2,", AFTER_REINFORCE),
        ("policy", "-self.beta", "-2 * self.beta", AFTER_REINFORCE),
        ("teacher", "It begins", "It starts", AFTER_DESCRIBE),
        ("corpus", "range(1, 13)", "range(1, 14)", AFTER_CORPUS),
        ("callback", 'open("a")', 'open("w")', set()),
        ("callback", "observes_only = True", "", TRAINED),
        ("measure", "max(1,", "max(2,", {"evaluate"}),
    ],
)
def test_what_is_changed_in_a_class_is_made_anew_with_all_that_hangs_on_it(plan, name, old, new, changed):
    before, after = plan(), plan(name, old, new)
    assert {stage for stage in before if before[stage] != after[stage]} >= changed
    assert {stage for stage in before if before[stage] != after[stage]} - changed == set()


def test_a_slip_in_ones_own_class_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = ["--config-dir", str(HERE / "conf"), *SMOKE, f"paths.artifacts={tmp_path}"]
    for override, said in (
        ("+reward.terms.echo={_target_: own_parts.reward.Ecko}", "has no 'Ecko'; did you mean 'Echo'?"),
        ("+reward.terms.echo={_target_: own_parts.reward.Echo, prise: 1}", "reward.terms.echo.prise; did you mean"),
        ("+reward.terms.echo={_target_: own_parts.reward.Echo, price: high}", "echo.price=high must be a number"),
        ("+callbacks.tally={_target_: own_parts.callback.Tally}", "missing key callbacks.tally.path"),
    ):
        assert main(["reinforce", *words, override]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    forget()
