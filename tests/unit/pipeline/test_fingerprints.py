"""What a setting, a version or content from outside changes, over the rows of the real table."""

import json
from types import SimpleNamespace

import pytest

from fake_stages import LATER, Source, fingerprints
from nlae.errors import NlaeError
from nlae.pipeline.run import bring_up_to_date
from nlae.pipeline.table import STAGES

BF16 = {"target.dtype": "bfloat16", "trainer.precision": "bf16-mixed"}

ROWS = [
    ("corpus.seed", 1, LATER["corpus"]),
    ("corpus.max_tokens", 64, LATER["corpus"]),
    ("site.depth", 1.0, LATER["extract"]),
    ("site.kind", "mlp_out", LATER["extract"]),
    ("store.dtype", "float32", LATER["extract"]),
    ("teacher.tail", "verbatim", LATER["describe"]),
    ("prompt.text", "other", LATER["describe"]),
    ("prompt.style", {"form": "bullets"}, LATER["describe"]),
    ("prompt.verbalizer", "w {slot}", LATER["verbalizer"]),
    ("prompt.reconstructor", "s {explanation}", LATER["reconstructor"]),
    ("prompt.max_tokens", 65, LATER["describe"]),
    ("verbalizer.adapter.rank", 8, LATER["verbalizer"]),
    ("reconstructor.magnitude", True, LATER["reconstructor"]),
    ("verbalizer.updates", 4, LATER["verbalizer"]),
    ("reconstructor.updates", 4, LATER["reconstructor"]),
    ("data.reader_sites", 1, LATER["reconstructor"]),
    ("seed", 1, LATER["halves"]),
    ("trainer.precision", "bf16-mixed", LATER["halves"] | {"dictionary"}),
    ("machine.matmul_precision", "high", LATER["extract"] | LATER["describe"] | LATER["scan"]),
    ("machine.matmul_precision", "highest", set()),
    ("optimizer.eps", 1e-6, LATER["halves"]),
    ("trainer.limit_train_batches", 2, LATER["halves"]),
    ("rollout.temperature", 0.5, LATER["reinforce"]),
    ("reward.fidelity", 2.0, LATER["reinforce"]),
    ("objective.updates", 4, LATER["reinforce"]),
    ("evaluation.max_rows", 11, LATER["evaluate"]),
    ("dictionary.scan.top", 8, LATER["scan"]),
    ("dictionary.seed", 1, LATER["scan"]),
    ("dictionary.exemplars", 4, LATER["dictionary"]),
    ("report.samples", 4, LATER["report"]),
    # never hashed
    ("store.batch_tokens", 1, set()),
    ("teacher.batch_tokens", 1, set()),
    ("dictionary.scan.checkpoint_every", 1, set()),
    ("dictionary.scan.window_tokens", 1, set()),
    ("rollout.batch_size", 1, set()),
    ("rollout.packed", False, set()),
    ("evaluation.batch_size", 1, set()),
    ("objective.micro_tokens", 1, set()),
    ("target.name", "other", set()),
    ("trainer.accelerator", "gpu", set()),
    ("machine.threads", 3, set()),
    ("rollout.graphs", True, set()),
    ("callbacks.resume.every", 7, set()),
    ("logger.mode", "offline", set()),
    ("callbacks", {"x": {"_target_": "nlae.training.callbacks.NonFiniteWatch", "stop_after": 3}, "y": None}, set()),
    ("callbacks", {"x": {"_target_": "pytorch_lightning.callbacks.LearningRateMonitor"}}, set()),
    (
        "callbacks",
        {"x": {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "loss"}},
        LATER["halves"],
    ),
    ("paths.out", "elsewhere", set()),
]


@pytest.mark.parametrize(("path", "value", "changed"), ROWS, ids=[row[0] for row in ROWS])
def test_a_setting_changes_exactly_its_stages(make, path, value, changed):
    before, after = fingerprints(make()), fingerprints(make({path: value}))
    assert {name for name in STAGES if before[name] != after[name]} == changed


def test_every_stage_of_the_table_has_a_row_in_this_test():
    covered = {min(changed, key=lambda name: list(STAGES).index(name)) for _, _, changed in ROWS if changed}
    assert covered == set(STAGES) - {"warmstart"}, "which reads nothing that its halves, or the teacher, do not"


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


def test_a_finished_dictionary_of_the_same_scan_remakes_the_report_alone(make):
    plan = make()
    before = fingerprints(plan)
    folder = plan.artifact("dictionary").folder
    folder.mkdir(parents=True)
    manifest = {"complete": True, "fingerprint": folder.name, "parents": plan.artifact("dictionary").parents}
    for parents, changed in (({"scan": "other"}, set()), (manifest["parents"], {"report"})):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "parents": parents}))
        after = fingerprints(make())
        assert {name for name in STAGES if before[name] != after[name]} == changed
    assert "dictionary" not in plan.order("report"), "it is mentioned, and never made"


def test_a_teacher_that_does_not_ask_the_target_is_not_asked_again(make):
    remote = {"teacher": {"_target_": "nlae.teacher.OpenAITeacher", "model": "m", "concurrency": 2}}
    one = make(remote).artifact("describe").fingerprint
    other = make({**remote, **BF16}, target=Source(weights="v"))
    assert one == other.artifact("describe").fingerprint


def test_a_local_teachers_weights_are_hashed(make):
    local = {"teacher": {"_target_": "nlae.teacher.LocalTeacher", "model": "owner/instruct"}}

    def with_weights(weights):
        return make(local, teacher=SimpleNamespace(fingerprint=lambda: weights))

    before, after = fingerprints(with_weights("old commit")), fingerprints(with_weights("new commit"))
    assert {name for name in STAGES if before[name] != after[name]} == LATER["describe"]


def test_a_describe_that_failed_goes_on_in_its_folder_with_other_patience(make, fake):
    paid = {"_target_": "nlae.teacher.OpenAITeacher", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    fake.fail["describe"] = NlaeError("too many failed")
    with pytest.raises(NlaeError):
        bring_up_to_date(make({"teacher": paid}), "describe", "g")
    folder = make({"teacher": paid}).artifact("describe").folder
    assert (folder / "half.txt").exists()
    fake.fail.clear()
    patient = {"attempts": 9, "backoff": 0.5, "max_wait": 3.0, "timeout": 5.0, "concurrency": 2, "yes": True}
    patient |= {"max_failed_share": 0.5, "retry_failed": True, "base_url": "http://127.0.0.1:2/v1"}
    assert bring_up_to_date(make({"teacher": paid | patient}), "describe", "g").folder == folder
    for key, value in (("model", "other"), ("max_tokens", 7), ("temperature", 1.0)):
        assert make({"teacher": paid | {key: value}}).artifact("describe").folder != folder


def test_bf16_base_weights_are_another_extraction_and_say_other_texts(make):
    before, after = fingerprints(make()), fingerprints(make(BF16))
    assert before["extract"] != after["extract"]
    assert before["describe"] != after["describe"]
    assert before["corpus"] == after["corpus"]


def test_a_stage_version_changes_it_and_what_follows(make, fake):
    before = fingerprints(make())
    fake.versions["warmstart"] = 2
    after = fingerprints(make())
    assert {name for name in STAGES if before[name] != after[name]} == LATER["warmstart"]
