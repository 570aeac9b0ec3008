"""What a goal runs, reuses, resumes and refuses."""

import json

import pytest

from nlae.errors import NlaeError
from nlae.pipeline.run import bring_up_to_date, use

TRAINED = ("warmstart", "reinforce", "evaluate")


def test_goal_runs_parents_first_and_a_rerun_runs_nothing(make, fake):
    artifact = bring_up_to_date(make(), "report", "g")
    assert fake.ran == ["corpus", "extract", "describe", "verbalizer", "reconstructor", *TRAINED, "report"]
    manifest = json.loads((artifact.folder / "manifest.json").read_text())
    assert manifest["complete"]
    assert manifest["parents"]["evaluate"] == make().artifact("evaluate").fingerprint
    assert manifest["versions"]["python"]
    assert manifest["peak_memory_bytes"] > 0
    assert json.loads((artifact.folder / "metrics.json").read_text()) == {"fve": 0.25}
    assert (artifact.folder / "config.yaml").is_file()
    fake.ran.clear()
    assert bring_up_to_date(make(), "report", "g").folder == artifact.folder
    assert fake.ran == []


def test_prompt_change_re_extracts_nothing_and_layer_change_does(make, fake):
    bring_up_to_date(make(), "evaluate", "g")
    fake.ran.clear()
    bring_up_to_date(make({"prompt.verbalizer": "w {slot}"}), "evaluate", "g")
    assert fake.ran == ["verbalizer", *TRAINED], "the other half is what it was"
    fake.ran.clear()
    bring_up_to_date(make({"prompt.verbalizer": "w {slot}", "reconstructor.magnitude": True}), "evaluate", "g")
    assert fake.ran == ["reconstructor", *TRAINED]
    fake.ran.clear()
    bring_up_to_date(make({"site.depth": 0.0}), "extract", "g")
    assert fake.ran == ["extract"]


def test_a_failed_stage_keeps_its_half_and_goes_on(make, fake):
    fake.fail["warmstart"] = NlaeError("no")
    with pytest.raises(NlaeError):
        bring_up_to_date(make(), "warmstart", "g")
    artifact = make().artifact("warmstart")
    assert (artifact.folder / "half.txt").exists()
    assert not artifact.is_complete()
    fake.fail.clear()
    fake.ran.clear()
    bring_up_to_date(make(), "warmstart", "g")
    assert fake.ran == ["warmstart"]
    assert artifact.is_complete()


def test_a_full_disk_is_one_line(make, fake):
    fake.fail["corpus"] = OSError(28, "No space left on device")
    with pytest.raises(NlaeError, match="disk of .* is full"):
        bring_up_to_date(make(), "corpus", "g")


def test_an_exit_inside_a_stage_is_an_interruption(make, fake):
    fake.fail["corpus"] = SystemExit(1)
    with pytest.raises(KeyboardInterrupt):
        bring_up_to_date(make(), "corpus", "g")


def test_a_cut_output_is_told_and_not_reused(make, fake):
    artifact = bring_up_to_date(make(), "corpus", "g")
    (artifact.folder / "output.txt").write_text("out")
    with pytest.raises(NlaeError, match=r"output\.txt has 3 bytes instead of"):
        bring_up_to_date(make(), "extract", "g")


def test_a_secret_does_not_reach_the_folder(make, fake):
    artifact = bring_up_to_date(make({"callbacks.api_key": "sk-secret"}), "corpus", "g")
    assert "sk-secret" not in "".join(path.read_text() for path in artifact.folder.iterdir())


def test_checkpoint_replaces_the_trained_stages(make, fake, tmp_path):
    pair = tmp_path / "pair"
    pair.mkdir()
    (pair / "model.safetensors").write_bytes(b"x")
    plan = make(checkpoint=pair)
    other = make({"trainer.precision": "bf16-mixed"}, checkpoint=pair)
    assert plan.artifact("extract").fingerprint == other.artifact("extract").fingerprint
    assert plan.artifact("evaluate").fingerprint != other.artifact("evaluate").fingerprint
    bring_up_to_date(plan, "report", "g")
    assert fake.ran == ["corpus", "extract", "describe", "evaluate", "report"]
    assert plan.parent_folders("evaluate")["subject"] == pair
    for goal in ("verbalizer", "reconstructor", "warmstart", "reinforce"):
        with pytest.raises(NlaeError, match="trains"):
            bring_up_to_date(make(checkpoint=pair), goal, "g")


@pytest.mark.parametrize("goal", ["warmstart", "reinforce", "evaluate", "report"])
def test_no_pair_is_trained_on_a_target_that_brings_code(make, fake, goal, tmp_path):
    brings = {"target.trust_remote_code": True}
    with pytest.raises(NlaeError, match="target.trust_remote_code=true: verbalizer would"):
        bring_up_to_date(make(brings), goal, "g")
    assert fake.ran == []
    assert not (tmp_path / "artifacts").exists()
    for untrained in ("extract", "describe"):
        bring_up_to_date(make(brings), untrained, "g")
    assert fake.ran == ["corpus", "extract", "describe"]


def test_evaluation_subject_chooses_the_trained_stage(make, fake):
    plan = make({"evaluation.subject": "warmstart"})
    bring_up_to_date(plan, "evaluate", "g")
    assert "reinforce" not in fake.ran
    assert plan.parent_folders("evaluate")["subject"] == plan.artifact("warmstart").folder
    with pytest.raises(NlaeError, match="choose warmstart or reinforce"):
        make({"evaluation.subject": "corpus"}).artifact("evaluate")


def test_a_service_never_trains(make, fake, tmp_path):
    with pytest.raises(NlaeError, match=r"run `nlae reinforce` first"):
        use(make(), "explain", "nlae reinforce", "g")
    assert fake.ran == []
    bring_up_to_date(make(), "reinforce", "g")
    fake.ran.clear()
    folder = use(make({"out": str(tmp_path / "here")}), "explain", "nlae reinforce", "g")
    assert fake.ran == ["explain"]
    assert folder == tmp_path / "here"


def test_what_only_a_resume_needs_goes_when_the_stage_is_finished(make, fake):
    fake.fail["extract"] = NlaeError("full")
    with pytest.raises(NlaeError):
        bring_up_to_date(make(), "extract", "g")
    kept = make().artifact("extract").folder / "resume" / "weights.safetensors"
    kept.parent.mkdir()
    kept.write_text("half")
    with pytest.raises(NlaeError):
        bring_up_to_date(make(), "extract", "g")
    assert kept.exists(), "it failed again"
    fake.fail.clear()
    done = bring_up_to_date(make(), "extract", "g")
    assert done.is_complete()
    assert not kept.parent.exists()
    # a kill between the manifest and the deletion
    kept.parent.mkdir()
    kept.write_text("half")
    fake.ran.clear()
    assert bring_up_to_date(make(), "extract", "g").is_complete()
    assert fake.ran == []
    assert not kept.parent.exists()
