"""What is said of a stage that is waited for or made anew."""

import multiprocessing
from pathlib import Path

from fake_stages import Source, fingerprints
from nlae.pipeline import artifact as artifact_module
from nlae.pipeline.run import bring_up_to_date


def _hold(folder: str, ready, enough) -> None:
    from nlae.pipeline.artifact import Artifact

    with Artifact("corpus", Path(folder).name, Path(folder)).locked():
        ready.set()
        enough.wait(60)


def test_a_second_job_waits_and_says_for_whom(make, fake, caplog, monkeypatch):
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
    assert remade(caplog, "verbalizer") == [
        f"{new['verbalizer']}: made anew, unlike {old['verbalizer']}: verbalizer.adapter.rank 16 → 8, "
        f"site.layer 4 → 8, parent extract {old['extract']} → {new['extract']}"
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
    assert "prompt.style.api_key" not in line  # the manifest does not hold what it was
    assert f"prompt.style.a (not there) → {'a' * 39}…" in line
    assert line.endswith(", and 2 more")
