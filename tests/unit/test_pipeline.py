"""The pipeline on a table of fake stages: reuse, resume, locks, rows of the real table."""

import json
import logging
import multiprocessing
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest

from nlae.errors import NlaeError
from nlae.pipeline import artifact as artifact_module
from nlae.pipeline import plan as plan_module
from nlae.pipeline import run as run_module
from nlae.pipeline.plan import Plan
from nlae.pipeline.run import bring_up_to_date, use
from nlae.pipeline.table import STAGES

CONFIG = {
    "corpus": {"_target_": "nlae.corpus.StdlibCorpus", "seed": 0, "max_tokens": 128},
    "target": {"_target_": "nlae.target.TinyTarget", "name": "tiny"},
    "site": {"_target_": "nlae.target.site.Site", "kind": "resid", "layer": None, "depth": 0.5, "min_position": 8},
    "store": {"dtype": "float16", "batch_tokens": 100},
    "teacher": {"_target_": "nlae.teacher.ContextTeacher", "tail": "described", "batch_tokens": 5},
    "prompt": {
        "name": "short",
        "text": "t",
        "style": {"form": "sentences"},
        "max_tokens": 64,
        "verbalizer": "v {slot}",
    },
    "verbalizer": {"adapter": {"rank": 16}},
    "reconstructor": {"magnitude": False},
    "rollout": {"temperature": 1.0},
    "reward": {"fidelity": 1.0},
    "objective": {
        "warmstart": {"updates": 3, "checkpoint_every": 5},
        "reinforce": {"updates": 3, "algorithm": "grpo"},
    },
    "evaluation": {"subject": "reinforce", "max_rows": 10},
    "dictionary": {"sample": 3, "seed": 0, "scan": {"top": 16, "checkpoint_every": 8}},
    "report": {"samples": 3},
    "trainer": {"precision": "fp32", "device": "cpu", "devices": 1, "threads": None},
    "logger": {"mode": "none"},
    "callbacks": {},
    "paths": {"artifacts": "artifacts", "out": None},
    "seed": 0,
}


class Source:
    """A target's source that knows two numbers."""

    def __init__(self, layers=9, weights="w", tokens="t"):
        self.layers, self.weights, self.tokens = layers, weights, tokens

    def fingerprint(self):
        return self.weights

    def tokenizer_fingerprint(self):
        return self.tokens

    def load_config(self):
        return SimpleNamespace(num_hidden_layers=self.layers)


class Fake:
    """Stage modules that count how often they ran, and can be made to fail half way."""

    def __init__(self):
        self.ran, self.fail, self.versions = [], {}, {}

    def module(self, name):
        def run(context):
            self.ran.append(name)
            done = context.folder / "half.txt"
            if not done.exists():
                done.write_text("half")
            if name in self.fail:
                raise self.fail[name]
            (context.folder / "output.txt").write_text("output " + name)
            return {"fve": 0.25}

        return SimpleNamespace(VERSION=self.versions.get(name, 1), run=run)


@pytest.fixture
def fake(monkeypatch):
    fake = Fake()
    monkeypatch.setattr(plan_module, "stage_module", fake.module)
    monkeypatch.setattr(run_module, "stage_module", fake.module)
    return fake


@pytest.fixture
def make(monkeypatch, fake, tmp_path):
    outside = {"target": Source(), "corpus": SimpleNamespace(fingerprint=lambda: "text")}
    real = plan_module.build

    def build(node, where, **extra):
        return outside[where] if where in outside else real(node, where, **extra)

    monkeypatch.setattr(plan_module, "build", build)

    def make(changes=None, checkpoint=None, **sources):
        outside.update(sources)
        config = deepcopy(CONFIG)
        config["paths"]["artifacts"] = str(tmp_path / "artifacts")
        for path, value in (changes or {}).items():
            node = config
            *parents, last = path.split(".")
            for part in parents:
                node = node[part]
            node[last] = value
        return Plan(config, checkpoint)

    return make


def fingerprints(plan):
    return {name: plan.artifact(name).fingerprint for name in STAGES}


LATER = {
    "corpus": set(STAGES),
    "extract": {"extract", "warmstart", "reinforce", "evaluate", "dictionary", "report"},
    "describe": {"describe", "warmstart", "reinforce", "evaluate", "dictionary", "report"},
    "warmstart": {"warmstart", "reinforce", "evaluate", "dictionary", "report"},
    "reinforce": {"reinforce", "evaluate", "dictionary", "report"},
    "evaluate": {"evaluate", "report"},
    "scan": {"scan", "dictionary"},
    "dictionary": {"dictionary"},
    "report": {"report"},
}

ROWS = [
    ("corpus.seed", 1, LATER["corpus"]),
    ("corpus.max_tokens", 64, LATER["corpus"]),
    ("site.depth", 1.0, LATER["extract"]),
    ("site.kind", "mlp_out", LATER["extract"]),
    ("store.dtype", "float32", LATER["extract"]),
    ("teacher.tail", "verbatim", LATER["describe"]),
    ("prompt.text", "other", LATER["describe"]),
    ("prompt.style", {"form": "bullets"}, LATER["describe"]),
    ("prompt.verbalizer", "w {slot}", LATER["warmstart"]),
    ("verbalizer.adapter.rank", 8, LATER["warmstart"]),
    ("reconstructor.magnitude", True, LATER["warmstart"]),
    ("objective.warmstart.updates", 4, LATER["warmstart"]),
    ("seed", 1, LATER["warmstart"]),
    ("trainer.precision", "bf16-mixed", LATER["warmstart"]),
    ("trainer.optimizer_bits", 8, LATER["warmstart"]),
    ("rollout.temperature", 0.5, LATER["reinforce"]),
    ("reward.fidelity", 2.0, LATER["reinforce"]),
    ("objective.reinforce.updates", 4, LATER["reinforce"]),
    ("evaluation.max_rows", 11, LATER["evaluate"]),
    ("dictionary.scan.top", 8, LATER["scan"]),
    ("dictionary.seed", 1, LATER["scan"]),
    ("dictionary.sample", 4, LATER["dictionary"]),
    ("report.samples", 4, LATER["report"]),
    # never hashed
    ("store.batch_tokens", 1, set()),
    ("teacher.batch_tokens", 1, set()),
    ("dictionary.scan.checkpoint_every", 1, set()),
    ("target.name", "other", set()),
    ("prompt.name", "other", set()),
    ("trainer.device", "cuda", set()),
    ("trainer.threads", 3, set()),
    ("rollout.graphs", True, set()),
    ("objective.warmstart.checkpoint_every", 7, set()),
    ("logger.mode", "offline", set()),
    ("callbacks", {"x": 1}, set()),
    ("paths.out", "elsewhere", set()),
]


@pytest.mark.parametrize(("path", "value", "changed"), ROWS, ids=[row[0] for row in ROWS])
def test_a_setting_changes_exactly_its_stages(make, path, value, changed):
    before, after = fingerprints(make()), fingerprints(make({path: value}))
    assert {name for name in STAGES if before[name] != after[name]} == changed


def test_every_stage_of_the_table_has_a_row_in_this_test():
    covered = {min(changed, key=lambda name: list(STAGES).index(name)) for _, _, changed in ROWS if changed}
    assert covered == set(STAGES)


def test_depth_and_the_layer_it_means_are_the_same(make):
    assert fingerprints(make({"site.depth": 0.5})) == fingerprints(make({"site.depth": None, "site.layer": 4}))


@pytest.mark.parametrize(
    ("sources", "changed"),
    [
        ({"target": Source(weights="v")}, set(STAGES) - {"corpus"}),
        ({"target": Source(tokens="u")}, set(STAGES)),
        ({"corpus": SimpleNamespace(fingerprint=lambda: "edited")}, set(STAGES)),
    ],
    ids=["weights", "tokenizer", "corpus files"],
)
def test_content_from_outside_is_hashed(make, sources, changed):
    before, after = fingerprints(make()), fingerprints(make(**sources))
    assert {name for name in STAGES if before[name] != after[name]} == changed


def test_a_finished_dictionary_of_the_same_pair_remakes_the_report_alone(make):
    plan = make()
    before = fingerprints(plan)
    folder = plan.artifact("dictionary").folder
    folder.mkdir(parents=True)
    manifest = {"complete": True, "fingerprint": folder.name, "parents": plan.artifact("dictionary").parents}
    for parents, changed in (({"reinforce": "other"}, set()), (manifest["parents"], {"report"})):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "parents": parents}))
        after = fingerprints(make())
        assert {name for name in STAGES if before[name] != after[name]} == changed
    assert "dictionary" not in plan.order("report"), "it is mentioned, and never made"


def test_a_teacher_that_does_not_ask_the_target_is_not_asked_again(make):
    remote = {"teacher": {"_target_": "nlae.teacher.OpenAITeacher", "model": "m", "concurrency": 2}}
    one = make(remote).artifact("describe").fingerprint
    other = make({**remote, "trainer.precision": "bf16-base"}, target=Source(weights="v"))
    assert one == other.artifact("describe").fingerprint


def test_a_local_teachers_weights_are_hashed(make):
    local = {"teacher": {"_target_": "nlae.teacher.LocalTeacher", "model": "owner/instruct"}}

    def with_weights(weights):
        return make(local, teacher=SimpleNamespace(fingerprint=lambda: weights))

    before, after = fingerprints(with_weights("old commit")), fingerprints(with_weights("new commit"))
    assert {name for name in LATER if before[name] != after[name]} == LATER["describe"]


def test_a_describe_that_failed_goes_on_in_its_folder_with_other_patience(make, fake):
    paid = {"_target_": "nlae.teacher.OpenAITeacher", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    fake.fail["describe"] = NlaeError("too many failed")
    with pytest.raises(NlaeError):
        bring_up_to_date(make({"teacher": paid}), "describe", "g")
    folder = make({"teacher": paid}).artifact("describe").folder
    assert (folder / "half.txt").exists()
    fake.fail.clear()
    patient = {"attempts": 9, "backoff": 0.5, "max_wait": 3.0, "timeout": 5.0, "concurrency": 2, "yes": True}
    patient |= {"max_failed_share": 0.5, "retry_failed": True}
    assert bring_up_to_date(make({"teacher": paid | patient}), "describe", "g").folder == folder
    for key, value in (("model", "other"), ("base_url", "http://127.0.0.1:2/v1"), ("temperature", 1.0)):
        assert make({"teacher": paid | {key: value}}).artifact("describe").folder != folder


def test_bf16_base_weights_are_another_extraction_and_say_other_texts(make):
    before, after = fingerprints(make()), fingerprints(make({"trainer.precision": "bf16-base"}))
    assert before["extract"] != after["extract"]
    assert before["describe"] != after["describe"]
    assert before["corpus"] == after["corpus"]


def test_a_stage_version_changes_it_and_what_follows(make, fake):
    before = fingerprints(make())
    fake.versions["warmstart"] = 2
    after = fingerprints(make())
    assert {name for name in STAGES if before[name] != after[name]} == LATER["warmstart"]


def test_goal_runs_parents_first_and_a_rerun_runs_nothing(make, fake):
    artifact = bring_up_to_date(make(), "report", "g")
    assert fake.ran == ["corpus", "extract", "describe", "warmstart", "reinforce", "evaluate", "report"]
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
    assert fake.ran == ["warmstart", "reinforce", "evaluate"]
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
    for goal in ("warmstart", "reinforce"):
        with pytest.raises(NlaeError, match="trains"):
            bring_up_to_date(make(checkpoint=pair), goal, "g")


@pytest.mark.parametrize("goal", ["warmstart", "reinforce", "evaluate", "report"])
def test_no_pair_is_trained_on_a_target_that_brings_code(make, fake, goal, tmp_path):
    brings = {"target.trust_remote_code": True}
    with pytest.raises(NlaeError, match="target.trust_remote_code=true: warmstart would"):
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


def _hold(folder: str, ready, enough) -> None:
    from nlae.pipeline.artifact import Artifact

    with Artifact("corpus", Path(folder).name, Path(folder)).locked():
        ready.set()
        enough.wait(60)


def test_a_second_job_waits_and_says_for_whom(make, fake, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("nlae"), "propagate", True)
    plan = make()
    artifact = plan.artifact("corpus")
    spawn = multiprocessing.get_context("spawn")
    ready, enough = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_hold, args=(str(artifact.folder), ready, enough))
    other.start()
    assert ready.wait(60)
    warn = artifact_module.log.warning

    def warned(*said: object) -> None:
        warn(*said)
        enough.set()  # the other holds on until then

    monkeypatch.setattr(artifact_module.log, "warning", warned)
    with caplog.at_level("INFO"):
        bring_up_to_date(plan, "corpus", "g")
    other.join()
    assert f"waiting for process {other.pid}" in caplog.text
    assert artifact.is_complete()


def remade(caplog, stage):
    return [line.partition(f"{stage} ")[2] for line in caplog.messages if line.startswith(stage) and "anew" in line]


def test_the_log_says_why_a_stage_is_made_anew(make, fake, caplog):
    caplog.set_level("INFO", logger="nlae.pipeline.run")
    first = make()
    bring_up_to_date(first, "warmstart", "g")
    assert not any("anew" in line for line in caplog.messages), "nothing was there before"
    old = fingerprints(first)
    caplog.clear()
    changed = make({"site.depth": 1.0, "verbalizer.adapter.rank": 8})
    bring_up_to_date(changed, "warmstart", "g")
    new = fingerprints(changed)
    assert remade(caplog, "extract") == [f"{new['extract']}: made anew, unlike {old['extract']}: site.layer 4 → 8"]
    assert remade(caplog, "warmstart") == [
        f"{new['warmstart']}: made anew, unlike {old['warmstart']}: verbalizer.adapter.rank 16 → 8, site.layer 4 → 8, "
        f"parent extract {old['extract']} → {new['extract']}"
    ]
    assert remade(caplog, "corpus") == []
    caplog.clear()
    fake.versions["describe"] = 2
    bring_up_to_date(make(target=Source(weights="others")), "describe", "g")
    (line,) = remade(caplog, "describe")
    assert "version 1 → 2, content of teacher_target w → others" in line
    assert all(message.count("\n") == 0 for message in caplog.messages)


def test_many_changes_are_counted_and_secrets_stay_out(make, fake, caplog):
    caplog.set_level("INFO", logger="nlae.pipeline.run")
    bring_up_to_date(make({"prompt.style.api_key": "sk-old"}), "describe", "g")
    texts = {f"prompt.style.{name}": name * 50 for name in "abcdefgh"}
    bring_up_to_date(make({"prompt.style.api_key": "sk-new", **texts}), "describe", "g")
    (line,) = remade(caplog, "describe")
    assert "sk-" not in line
    assert "prompt.style.api_key *** → ***" in line
    assert f"prompt.style.a (not there) → {'a' * 39}…" in line
    assert line.endswith(", and 3 more")
