"""A checkpoint says again exactly what the pair said, or says in one line why it cannot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from nlae.errors import NlaeError
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER
from nlae.model.checkpoint import HEADS, META, STATISTICS
from nlae.target import TinyTarget

TEXTS = ["a red cat", "the dog", ""]
WRITE, READ = VERBALIZER, RECONSTRUCTOR
MEAN, HEAD = "resid.1/mean", "head.resid.1.head.weight"


def says(pair: Autoencoder, activation_BD: torch.Tensor) -> list[torch.Tensor]:
    token_BT, _ = pair.at().verbalizer.encode_responses(["a cat", "the dog"])
    written = pair.verbalize(activation_BD, seeds=list(range(len(activation_BD))))
    with torch.no_grad():
        logp_BT = pair.at().verbalizer.logprobs(activation_BD[:2], token_BT)
    norm_N = pair.reconstruct_norm(TEXTS)
    n_tokens = torch.tensor([e.n_tokens for e in written])
    ids = torch.tensor([ord(c) for e in written for c in e.text])
    return [logp_BT, pair.reconstruct(TEXTS), n_tokens, ids, torch.zeros(0) if norm_N is None else norm_N]


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"mode": "affine", "magnitude": True, "point": 1},
        {"adapter": None, "magnitude": True},
        {"precision": "bf16-base"},
        {"precision": "bf16-mixed", "adapter": None},
        {"family": "gpt2", "kind": "mlp_neurons"},
        {"family": "gemma3", "mode": "add"},
    ],
    ids=lambda shape: "-".join(str(v) for v in shape.values()) or "default",
)
def test_saved_and_loaded_it_says_the_same_to_the_bit(make_pair, activations, tmp_path, shape):
    pair = make_pair(**shape)
    pair.at().distractors_MD = torch.randn(5, 32).half().float()
    given_BD = activations if shape.get("kind") != "mlp_neurons" else activations.repeat(1, 3)
    pair.save(tmp_path)
    loaded = Autoencoder.load(tmp_path)
    assert loaded.verbalizer.prompt == pair.verbalizer.prompt
    assert loaded.verbalizer.injection == pair.verbalizer.injection
    assert loaded.backbone.adapters == pair.backbone.adapters
    assert loaded.site == pair.site
    assert torch.equal(loaded.statistics.mean_D, pair.statistics.mean_D)
    assert torch.equal(loaded.at().distractors_MD, pair.at().distractors_MD)
    for before, after in zip(says(pair, given_BD), says(loaded, given_BD), strict=True):
        assert torch.equal(before, after)
    loaded.save(tmp_path / "again")
    first, second = (yaml.safe_load((f / META).read_text()) for f in (tmp_path, tmp_path / "again"))
    assert first == second


def test_saving_again_replaces_and_leaves_other_files_alone(make_pair, activations, tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    make_pair().save(tmp_path)
    pair = make_pair(adapter=None)
    pair.save(tmp_path)
    assert not (tmp_path / WRITE / "adapter_model.safetensors").exists()
    assert (tmp_path / "metrics.json").read_text() == "{}"
    assert not list(tmp_path.glob("*.new"))
    assert torch.equal(Autoencoder.load(tmp_path).reconstruct(TEXTS), pair.reconstruct(TEXTS))


def test_sidecar_says_what_it_is_site_by_site(make_pair, tmp_path):
    pair = make_pair()
    pair.save(tmp_path)
    meta = yaml.safe_load((tmp_path / META).read_text())
    assert (meta["kind"], meta["schema_version"], meta["role"]) == ("nla_model", 3, "autoencoder")
    (site,) = meta["sites"]
    assert (site["kind"], site["layer"], site["hook"]) == ("resid", 1, "blocks.1.output")
    assert site["injection_scale"] == pair.statistics.alpha
    assert site["tokens"]["injection_token_id"] == pair.at().verbalizer.ids.slot_id
    text = (tmp_path / META).read_text()
    assert str(tmp_path) not in text


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("role", [WRITE, READ])
def test_peft_reads_our_adapters(make_pair, tmp_path, family, role):
    from peft import PeftModel

    pair = make_pair(family)
    pair.save(tmp_path)
    bare = TinyTarget(family=family, layers=3, width=32, vocabulary=400).load().model
    theirs = PeftModel.from_pretrained(bare, str(tmp_path / role)).eval()
    ids_1T = torch.arange(5, 25)[None]
    with torch.no_grad():
        with pair.backbone.use(role):
            ours_1TV = pair.target.model(ids_1T).logits
        with pair.backbone.use(None):
            assert not torch.allclose(ours_1TV, pair.target.model(ids_1T).logits, atol=1e-2)
        assert torch.allclose(theirs(ids_1T).logits, ours_1TV, atol=1e-5)


def change(folder: Path, edit: Callable[[dict], object]) -> None:
    meta = yaml.safe_load((folder / META).read_text())
    edit(meta)
    (folder / META).write_text(yaml.safe_dump(meta))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(path: Path, name: str, tensor: torch.Tensor) -> None:
    save_file(load_file(str(path)) | {name: tensor}, str(path))


DAMAGES = {
    "no sidecar": lambda f: (f / META).unlink(),
    "sidecar is not yaml": lambda f: (f / META).write_text("kind: [nla_model\n  - :"),
    "sidecar is binary": lambda f: (f / META).write_bytes(b"\xff\xfe\x00\x80"),
    "sidecar is of something else": lambda f: (f / META).write_text("kind: recipe\n"),
    "sidecar is one half": lambda f: change(f, lambda m: m.update(role="av")),
    "target is missing": lambda f: change(f, lambda m: m.pop("target")),
    "target is foreign code": lambda f: change(f, lambda m: m["target"].update(_target_="os.system")),
    "prompt is missing": lambda f: change(f, lambda m: m.pop("prompt")),
    "unknown injection key": lambda f: change(f, lambda m: m["injection"].update(where="here")),
    "other weights": lambda f: change(f, lambda m: m.update(target_fingerprint="tiny-0")),
    "site out of range": lambda f: change(f, lambda m: m["sites"][0].update(layer=99)),
    "site without a layer": lambda f: change(f, lambda m: m["sites"][0].pop("layer")),
    "no sites": lambda f: change(f, lambda m: m.update(sites=[])),
    "a site twice": lambda f: change(f, lambda m: m.update(sites=2 * m["sites"])),
    "no target": lambda f: change(f, lambda m: m.update(target=None)),
    "no seed": lambda f: change(f, lambda m: m.update(seed=None)),
    "statistics of another width": lambda f: rewrite(f / STATISTICS, MEAN, torch.zeros(7)),
    "statistics of another form": lambda f: rewrite(f / STATISTICS, "resid.1/numbers", torch.tensor(1.0)),
    "statistics not finite": lambda f: rewrite(f / STATISTICS, MEAN, torch.full((32,), torch.nan)),
    "weights not finite": lambda f: rewrite(f / HEADS, HEAD, torch.full((32, 32), torch.nan)),
    "head cut": lambda f: cut(f / "heads.safetensors"),
    "head missing": lambda f: (f / "heads.safetensors").unlink(),
    "statistics cut": lambda f: cut(f / "statistics.safetensors"),
    "statistics of something else": lambda f: shutil.copy(f / "heads.safetensors", f / "statistics.safetensors"),
    "distractors cut": lambda f: cut(f / "distractors.safetensors"),
    "adapter cut": lambda f: cut(f / WRITE / "adapter_model.safetensors"),
    "adapter missing": lambda f: shutil.rmtree(f / READ),
    "adapters swapped": lambda f: shutil.copy(
        f / READ / "adapter_model.safetensors", f / WRITE / "adapter_model.safetensors"
    ),
    "rank disagrees": lambda f: change(f, lambda m: m["verbalizer_adapter"].update(rank=3)),
    "magnitude disagrees": lambda f: change(f, lambda m: m["reconstructor"].update(magnitude=True)),
}


@pytest.fixture(scope="module")
def whole(make_pair, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    pair = make_pair()
    pair.at().distractors_MD = torch.randn(100, 32)
    pair.save(folder)
    return folder


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_one_line_that_names_the_place(whole, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    damage(folder)
    with pytest.raises(NlaeError) as caught:
        Autoencoder.load(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > 30


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda m: m["prompt"].update(marker="a"), "tokens."),
        (lambda m: m["prompt"].update(verbalizer="What is [{slot}]?"), "neighbor_id"),
        (lambda m: m["prompt"].update(reconstructor="{explanation}\nIn short:"), "critic_suffix_ids"),
        (lambda m: m["sites"][0]["tokens"].update(injection_token_id=17), "injection_token_id"),
        (lambda m: m["sites"][0]["tokens"].update(injection_left_neighbor_id=17), "injection_left_neighbor_id"),
        (lambda m: m["sites"][0]["tokens"].pop("critic_suffix_ids"), "critic_suffix_ids"),
    ],
)
def test_trap_12_a_sidecar_that_disagrees_with_its_tokenizer_is_an_error(whole, tmp_path, edit, named):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    change(folder, edit)
    with pytest.raises(NlaeError, match=named) as caught:
        Autoencoder.load(folder)
    assert str(folder / META) in str(caught.value)


def test_trap_01_activations_that_are_not_those_of_training_are_an_error(whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    change(folder, lambda m: m["sites"][0].update(probe=[-x for x in m["sites"][0]["probe"]]))
    with pytest.raises(NlaeError, match=r"does not give the activations"):
        Autoencoder.load(folder)


def test_a_place_without_a_checkpoint_says_what_to_give(tmp_path):
    with pytest.raises(NlaeError, match="give a warmstart, reinforce or exported folder"):
        Autoencoder.load(tmp_path)
    with pytest.raises(NlaeError, match="nla_meta"):
        Autoencoder.load(tmp_path / "nowhere" / "at" / "all")


def test_a_hub_id_that_cannot_be_had_is_one_line(monkeypatch):
    import huggingface_hub

    asked: list[tuple[str, object]] = []

    def refuse(name: str, revision: str | None = None, **_: object) -> str:
        asked.append((name, revision))
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    for name in ("someone/something@abc123", "someone/something"):
        with pytest.raises(NlaeError, match="nor to be had from the hub"):
            Autoencoder.load(name)
    assert asked == [("someone/something", "abc123"), ("someone/something", None)]


def test_adapter_config_is_plain_json_without_machine_paths(whole):
    config = json.loads((whole / WRITE / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert (config["r"], config["lora_alpha"]) == (4, 8.0)
    assert config["base_model_name_or_path"] == "tiny"


def test_precision_can_be_chosen_at_load(whole, activations):
    wide, narrow = Autoencoder.load(whole), Autoencoder.load(whole, precision="bf16-base")
    assert narrow.target.dtype == torch.bfloat16
    cosine_N = (wide.reconstruct(TEXTS) * narrow.reconstruct(TEXTS)).sum(-1)
    assert (cosine_N > 0.98).all()
