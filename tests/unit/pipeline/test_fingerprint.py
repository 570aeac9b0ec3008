import importlib
import linecache
import math
import os
import platform
import sys
from pathlib import Path

import pytest

from nlae.config.compose import compose_plain
from nlae.errors import NlaeError
from nlae.model.checkpoint import locate
from nlae.pipeline.artifact import flat_numbers
from nlae.pipeline.fingerprint import (
    NEVER_HASHED,
    canonical,
    declared,
    digest,
    foreign_sources,
    hash_checkpoint,
    hash_source,
    pick,
    stripped,
)


def test_order_and_float_form_do_not_matter():
    assert digest({"a": 1, "b": 0.5}) == digest({"b": 0.5, "a": 1.0})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": True}) != digest({"a": 1})
    assert digest({"a": None}) != digest({"a": 0})
    assert digest({"a": "1"}) != digest({"a": 1})


def test_canonical_refuses_what_has_no_stable_form():
    with pytest.raises(TypeError):
        canonical({"a": object()})


@pytest.mark.parametrize(("whose", "key"), [(whose, key) for whose, keys in NEVER_HASHED.items() for key in keys])
def test_a_key_is_left_out_where_it_is_declared_and_nowhere_else(whose, key):
    known = whose[0].isupper()
    node = {"_target_": f"nlae.somewhere.{whose}", key: 1, "x": 2} if known else {key: 1, "x": 2}
    assert stripped({"deep": [node]} if known else node, "" if known else whose) == (
        {"deep": [{"_target_": f"nlae.somewhere.{whose}", "x": 2}]} if known else {"x": 2}
    )
    other = {"_target_": "nlae.training.reward.Reward", key: 1, "inner": {key: 2}}
    assert stripped(other, "reward") == other


def test_declared_picks_dotted_nodes_only():
    config = {"prompt": {"text": "t", "verbalizer": "v"}, "seed": 3}
    assert declared(config, ("prompt.text", "seed", "absent.node")) == {
        "prompt.text": "t",
        "seed": 3,
        "absent.node": None,
    }
    assert pick(config, "prompt.text.deeper") is None


def test_checkpoint_hash_follows_content_not_place(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "manifest.json").write_text(name)
    assert hash_checkpoint(tmp_path / "one") == hash_checkpoint(tmp_path / "two")
    (tmp_path / "two" / "model.safetensors").write_bytes(b"other")
    assert hash_checkpoint(tmp_path / "one") != hash_checkpoint(tmp_path / "two")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NlaeError, match="no safetensors"):
        hash_checkpoint(tmp_path / "empty")


def test_metrics_are_flat_finite_numbers():
    found = flat_numbers({"fve": 0.5, "n": 3, "undefined": math.nan, "worse": math.inf})
    assert found == {"fve": 0.5, "n": 3, "undefined": None, "worse": None}
    for value in ("text", True, [1.0], {"a": 1}):
        with pytest.raises(TypeError):
            flat_numbers({"x": value})


@pytest.mark.parametrize("teacher", ["openai", "anthropic"])
def test_where_a_teacher_is_served_and_who_is_let_in_changes_no_text(teacher):
    def of(*words):
        config = compose_plain([f"teacher={teacher}", "teacher.model=any", *words]).config
        return digest(declared(config, ["teacher"]))

    assert of("teacher.base_url=http://127.0.0.1:8000/v1", "+teacher.headers.x-api-key=abc") == of()
    assert of("teacher.temperature=0.5") != of()


def test_a_checkpoint_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(NlaeError, match=r"model\.safetensors cannot be read \(Permission denied\); check its permiss"):
        hash_checkpoint(tmp_path)
    monkeypatch.setattr(os, "stat", refuse)  # of what lies in a folder that may not be entered
    with pytest.raises(NlaeError, match="no nla_meta.yaml there that may be read"):
        locate("./folder")


def test_the_source_of_a_class_from_elsewhere_is_hashed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    node = {"a": {"_target_": "nlae.target.Site"}, "b": [{"_target_": "nlae_elsewhere.Mine", "c": 1}]}
    hashes = []
    for body in ("pass", "size = 1", "pass"):
        (tmp_path / "nlae_elsewhere.py").write_text(f"class Mine:\n    {body}\n")
        monkeypatch.delitem(sys.modules, "nlae_elsewhere", raising=False)
        importlib.invalidate_caches()
        linecache.clearcache()
        found = foreign_sources(node)
        assert set(found) == {"nlae_elsewhere.Mine"}
        hashes.append(found["nlae_elsewhere.Mine"])
    assert hashes[0] != hashes[1]
    assert hashes[0] == hashes[2]
    monkeypatch.delitem(sys.modules, "nlae_elsewhere")


def test_of_a_compiled_class_the_version_is_hashed():
    assert hash_source("safetensors.safe_open").startswith("safetensors ")
    assert hash_source("builtins.dict") == platform.python_version()


def test_keys_of_a_class_from_elsewhere_are_all_hashed():
    ours = {"_target_": "nlae.rollout.LocalRollout", "batch_size": 3, "temperature": 1.0}
    theirs = {**ours, "_target_": "elsewhere.LocalRollout"}
    assert "batch_size" not in stripped(ours)
    assert stripped(theirs) == theirs
