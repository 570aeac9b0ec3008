"""Out to the reference's layout and back: the same words and the same vectors, or a refusal."""

from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from nlae.errors import NlaeError
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.model.checkpoint import META
from nlae.model.reference_layout import export_reference, extraction_layer

TEXTS = ["a red cat", "the dog", ""]


def says(pair: Autoencoder, activation_BD: torch.Tensor) -> torch.Tensor:
    token_BT, _ = pair.at().verbalizer.encode_responses(["a cat ran", "the dog"])
    with torch.no_grad():
        return pair.at().verbalizer.logprobs(activation_BD[:2], token_BT)


@pytest.fixture(scope="module")
def exported(make_pair, tmp_path_factory) -> tuple[Autoencoder, Path]:
    pair, folder = make_pair(), tmp_path_factory.mktemp("exported")
    export_reference(pair, folder)
    return pair, folder


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    shutil.copytree(exported[1], tmp_path / "copy")
    return tmp_path / "copy"


def edit(folder: Path, half: str, change) -> None:
    meta = yaml.safe_load((folder / half / META).read_text())
    change(meta)
    (folder / half / META).write_text(yaml.safe_dump(meta))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "gemma3", "qwen3"])
def test_exported_and_read_back_it_says_the_same(make_pair, activations, tmp_path, family):
    pair = make_pair(family)
    export_reference(pair, tmp_path)
    loaded = Autoencoder.load(tmp_path)
    assert torch.allclose(says(loaded, activations), says(pair, activations), atol=2e-3)
    assert torch.allclose(loaded.reconstruct(TEXTS), pair.reconstruct(TEXTS), atol=1e-4)
    assert loaded.site == pair.site
    assert loaded.reconstructor.max_tokens == pair.reconstructor.max_tokens
    ids = [[1, 5, 6, 7]]
    assert torch.allclose(loaded.activations(ids)[0], pair.activations(ids)[0], atol=1e-5), "of the target, not of av"


def test_what_is_done_to_embeddings_outside_their_module_has_no_place_in_it(make_pair, tmp_path):
    with pytest.raises(NlaeError, match=r"format=reference cannot say .* multiplies its embeddings by 2\.5"):
        export_reference(make_pair("granite"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_all_weights_trained_are_exported_too(make_pair, activations, tmp_path):
    pair = make_pair(adapter=None)
    export_reference(pair, tmp_path)
    loaded = Autoencoder.load(tmp_path)
    assert torch.allclose(says(loaded, activations), says(pair, activations), atol=1e-4)
    assert torch.allclose(loaded.reconstruct(TEXTS), pair.reconstruct(TEXTS), atol=1e-5)


def test_what_was_read_can_be_saved_as_ours(exported, activations, tmp_path):
    loaded = Autoencoder.load(exported[1])
    loaded.save(tmp_path)
    assert torch.equal(says(Autoencoder.load(tmp_path), activations), says(loaded, activations))


def test_the_folders_are_what_the_reference_expects(exported):
    pair, folder = exported
    config = json.loads((folder / "ar" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
    names = set(load_file(str(folder / "ar" / "model.safetensors")))
    assert not any("lora" in n or "lm_head" in n or n.endswith("model.norm.weight") or ".2." in n for n in names)
    assert any(".1." in n for n in names)
    head = load_file(str(folder / "ar" / "value_head.safetensors"))
    assert torch.equal(head["weight"], pair.at().reconstructor.head.weight)
    av, ar = (yaml.safe_load((folder / half / META).read_text()) for half in ("av", "ar"))
    assert (av["role"], ar["role"], av["kind"], av["schema_version"]) == ("av", "ar", "nla_model", 2)
    assert av["extraction"] == {"injection_scale": 6.0, "mse_scale": None}
    assert ar["extraction"]["mse_scale"] == pytest.approx(math.sqrt(32))
    assert ar["critic"] == {"extraction_layer_index": 1}
    assert av["prompt_templates"]["av"].count("{injection_char}") == 1
    assert ar["prompt_templates"]["ar"].count("{explanation}") == 1
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder / "av")
    ids_1T = torch.arange(5, 25)[None]
    with torch.no_grad(), pair.backbone.use("verbalizer"):
        assert torch.allclose(plain(ids_1T).logits, pair.target.model(ids_1T).logits, atol=1e-3)


def test_neither_writing_nor_reading_says_anything_on_the_terminal(make_pair, tmp_path, capfd, caplog):
    from transformers.utils import logging as their_logging

    their_logging.enable_progress_bar()
    export_reference(make_pair(), tmp_path)
    Autoencoder.load(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert their_logging.is_progress_bar_enabled(), "silenced for our calls only"
    assert not logging.getLogger("transformers.modeling_utils").filters


def test_the_rank_survives_the_layout(make_pair, tmp_path):
    pair = make_pair()
    pair.at().distractors_MD = unit(torch.randn(100, 32, generator=torch.Generator().manual_seed(5)))
    export_reference(pair, tmp_path)
    loaded = Autoencoder.load(tmp_path)
    assert torch.allclose(loaded.at().distractors_MD, pair.at().distractors_MD, atol=1e-3)
    ours, theirs = (one.explain("the cat sat on the mat", tokens=-1, temperature=0.0) for one in (pair, loaded))
    assert theirs.others == 100
    assert theirs.rows[0].rank == ours.rows[0].rank


@pytest.mark.parametrize("shape", [{"mode": "affine"}, {"mode": "add"}, {"point": 1}, {"kind": "mlp_out"}])
def test_what_the_layout_cannot_say_is_refused_and_nothing_is_written(make_pair, tmp_path, shape):
    with pytest.raises(NlaeError, match="format=reference holds"):
        export_reference(make_pair(**shape), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", ["actor and critic", "first schema"])
def test_older_sidecars_are_read(exported, copied, activations, version):
    pair, _ = exported
    for half, role, template in (("av", "actor", "av"), ("ar", "critic", "ar")):

        def older(meta, role=role):
            meta["role"] = role
            templates = meta["prompt_templates"]
            meta["prompt_templates"] = {"actor": templates["av"], "critic": templates["ar"]}
            for key in ("prompt", "site", "reconstructor"):
                meta.pop(key)
            if version == "first schema":
                meta.pop("extraction_layer_index")
                meta["critic"] = {"num_hidden_layers": 2}
            meta["something_new"] = {"ignored": True}

        edit(copied, half, older)
        assert template
    if version == "first schema":
        edit(copied, "av", lambda m: m.update(schema_version=1))
    # a foreign pair opens the tag itself and knows nothing of our prefill
    with pytest.raises(NlaeError, match=r"tokens\."):
        Autoencoder.load(_with_neighbour(copied, 17))
    loaded = Autoencoder.load(_with_neighbour(copied, pair.at().verbalizer.ids.neighbours[1]))
    assert loaded.site.index == 1
    assert loaded.prompt.prefill == ""
    assert torch.allclose(loaded.reconstruct(TEXTS), pair.reconstruct(TEXTS), atol=1e-4)


def _with_neighbour(folder: Path, token: int) -> Path:
    edit(folder, "av", lambda m: m["tokens"].update(injection_right_neighbor_id=token))
    return folder


def test_without_our_statistics_there_is_cosine_but_no_fve(exported, copied):
    for half in ("av", "ar"):
        (copied / half / "statistics.safetensors").unlink()
    loaded = Autoencoder.load(copied)
    assert not loaded.has_statistics
    assert torch.allclose(loaded.reconstruct(TEXTS[:2]), exported[0].reconstruct(TEXTS[:2]), atol=1e-4)
    with pytest.raises(NlaeError, match="no activation statistics"):
        _ = loaded.statistics
    assert loaded.reconstruct(["a red cat", ""])[1].isnan().all(), "an empty text rebuilds nothing"
    with pytest.raises(NlaeError, match="has 5 entries, but the site has 32"):
        loaded.explain(vectors=torch.ones(5))


def _drop(path: Path, end: str) -> None:
    kept = {name: weight for name, weight in load_file(str(path)).items() if not name.endswith(end)}
    save_file(kept, str(path), metadata={"format": "pt"})


DAMAGES = {
    "one half is missing": lambda f: shutil.rmtree(f / "ar"),
    "layers disagree": lambda f: edit(f, "ar", lambda m: m.update(extraction_layer_index=0)),
    "no layer": lambda f: [
        edit(f, h, lambda m: [m.pop(k) for k in ("extraction_layer_index", "critic")]) for h in ("av", "ar")
    ],
    "no scale": lambda f: edit(f, "av", lambda m: m.pop("extraction")),
    "scale is null": lambda f: edit(f, "av", lambda m: m["extraction"].update(injection_scale=None)),
    "no templates": lambda f: [
        edit(f, h, lambda m: [m.pop(k) for k in ("prompt", "prompt_templates")]) for h in ("av", "ar")
    ],
    "no tokens": lambda f: edit(f, "av", lambda m: m.pop("tokens")),
    "head is missing": lambda f: (f / "ar" / "value_head.safetensors").unlink(),
    "head is cut": lambda f: (f / "ar" / "value_head.safetensors").write_bytes(b"\x08\x00"),
    "head of something else": lambda f: shutil.copy(
        f / "av" / "statistics.safetensors", f / "ar" / "value_head.safetensors"
    ),
    "weights are missing": lambda f: (f / "av" / "model.safetensors").unlink(),
    "a block is missing": lambda f: _drop(f / "ar" / "model.safetensors", "layers.1.mlp.up_proj.weight"),
    "weights are cut": lambda f: (f / "ar" / "model.safetensors").write_bytes(b"\x08\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_one_line(copied, damage):
    damage(copied)
    with pytest.raises(NlaeError) as caught:
        Autoencoder.load(copied)
    assert "\n" not in str(caught.value)


def test_half_a_pair_says_how_to_give_both(exported):
    with pytest.raises(NlaeError, match="put both halves into one folder"):
        Autoencoder.load(exported[1] / "av")


def test_layer_of_every_schema(tmp_path):
    for meta in (
        {"extraction_layer_index": 20},
        {"critic": {"extraction_layer_index": 20}},
        {"critic": {"num_hidden_layers": 21}},
    ):
        assert extraction_layer(meta, tmp_path) == 20
