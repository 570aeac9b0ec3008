import math

import pytest

from nlae.errors import NlaeError
from nlae.fingerprint import NEVER_HASHED, canonical, declared, digest, hash_checkpoint, pick, stripped
from nlae.pipeline.artifact import flat_numbers


def test_order_and_float_form_do_not_matter():
    assert digest({"a": 1, "b": 0.5}) == digest({"b": 0.5, "a": 1.0})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": True}) != digest({"a": 1})
    assert digest({"a": None}) != digest({"a": 0})
    assert digest({"a": "1"}) != digest({"a": 1})


def test_canonical_refuses_what_has_no_stable_form():
    with pytest.raises(TypeError):
        canonical({"a": object()})


@pytest.mark.parametrize("key", sorted(NEVER_HASHED))
def test_never_hashed_keys_are_dropped_at_any_depth(key):
    assert stripped({key: 1, "kept": {key: [1], "x": 2}}) == {"kept": {"x": 2}}


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
    assert flat_numbers({"fve": 0.5, "n": 3, "bad": math.nan, "worse": math.inf}) == {"fve": 0.5, "n": 3}
    for value in ("text", True, [1.0], {"a": 1}):
        with pytest.raises(TypeError):
            flat_numbers({"x": value})
