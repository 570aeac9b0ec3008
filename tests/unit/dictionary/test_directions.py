import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from nlae.dictionary.directions import Directions, read_site
from nlae.errors import NlaeError
from nlae.target import Site, TinyTarget, capture

D, N = 12, 30
NEW = {"d_in": D, "d_sae": N, "dtype": "float32", "apply_b_dec_to_input": False, "normalize_activations": "none"}


def weights() -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D, N), "b_enc": (N,), "W_dec": (N, D), "b_dec": (D,), "threshold": (N,)}
    return {name: torch.randn(shape, generator=source) for name, shape in shapes.items()}


def folder(path: Path, settings: dict[str, Any], drop: tuple[str, ...] = ()) -> Path:
    (path / "cfg.json").write_text(json.dumps(settings))
    save_file({k: v for k, v in weights().items() if k not in drop}, str(path / "sae_weights.safetensors"))
    return path


def new(architecture: str, hook: str = "blocks.3.hook_resid_post", **more: Any) -> dict[str, Any]:
    return {**NEW, "architecture": architecture, "metadata": {"hook_name": hook, "sae_lens_version": "6.21.0"}, **more}


OLD = {"hook_name": "blocks.8.hook_resid_pre", "hook_layer": 8, "d_in": D, "d_sae": N, "activation_fn_str": "relu"}
INPUT = torch.randn(5, D, generator=torch.Generator().manual_seed(1))
CASES: dict[str, tuple[dict[str, Any], Site, Any]] = {
    "jumprelu": (
        new("jumprelu"),
        Site("resid", 3),
        lambda w: (p := INPUT @ w["W_enc"] + w["b_enc"]).relu() * (p > w["threshold"]),
    ),
    "old standard": (OLD, Site("resid", 7), lambda w: ((INPUT - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()),
    "old topk": (
        {**OLD, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}, "hook_name": "blocks.2.hook_mlp_out"},
        Site("mlp_out", 2),
        lambda w: top((INPUT - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 4),
    ),
    "standard": (new("standard"), Site("resid", 3), lambda w: (INPUT @ w["W_enc"] + w["b_enc"]).relu()),
    "topk": (
        new("topk", "blocks.0.mlp.hook_post", k=3, rescale_acts_by_decoder_norm=True),
        Site("mlp_neurons", 0),
        lambda w: top((INPUT @ w["W_enc"] + w["b_enc"]) * w["W_dec"].norm(dim=1), 3),
    ),
    "hugging face hook": (
        new("standard", "model.layers.4"),
        Site("resid", 4),
        lambda w: (INPUT @ w["W_enc"] + w["b_enc"]).relu(),
    ),
    "hugging face mlp": (
        new("standard", "transformer.h.2.mlp", apply_b_dec_to_input=True),
        Site("mlp_out", 2),
        lambda w: ((INPUT - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu(),
    ),
    "oldest name of a hook": (
        {**{key: value for key, value in OLD.items() if key != "hook_name"}, "hook_point": "blocks.8.hook_resid_pre"},
        Site("resid", 7),
        lambda w: ((INPUT - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu(),
    ),
    "unit input": (
        new("standard", normalize_activations="constant_norm_rescale"),
        Site("resid", 3),
        lambda w: ((INPUT * D**0.5 / INPUT.norm(dim=1, keepdim=True)) @ w["W_enc"] + w["b_enc"]).relu(),
    ),
}


def top(raw: torch.Tensor, k: int) -> torch.Tensor:
    line = raw.sort(dim=1, descending=True).values[:, k - 1 : k]
    return torch.where(raw >= line, raw, torch.zeros(())).relu()


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_saelens_folder_encodes_as_documented(tmp_path, case):
    settings, site, expected = CASES[case]
    found = Directions.load(folder(tmp_path, settings), D)
    assert (found.site.kind, found.site.layer) == (site.kind, site.layer)  # type: ignore[union-attr]
    written_nd = weights()["W_dec"]
    assert torch.equal(found.write_nd, F.normalize(written_nd, dim=1))
    # what a feature writes is its activation times its decoder row
    rescaled = settings.get("rescale_acts_by_decoder_norm")
    size_n = torch.ones(N) if rescaled else written_nd.norm(dim=1)
    assert torch.allclose(found.activations(INPUT), expected(weights()) * size_n, atol=1e-4)
    assert not found.signed
    assert len(found) == N


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "attention": (new("standard", "blocks.1.attn.hook_z"), (), "hook_name='blocks.1.attn.hook_z'"),
    "gated": (new("gated"), (), "architecture 'gated'"),
    "before the first block": (new("standard", "blocks.0.hook_resid_pre"), (), "no site that is read here"),
    "no decoder": (new("standard"), ("W_dec",), "no W_dec"),
    "no k": (new("topk"), (), "topk autoencoder without k"),
    "k is no count": (new("topk", k=0), (), "k=0 is no count"),
    "gated topk": ({**OLD, "architecture": "gated", "activation_fn_str": "topk"}, (), "architecture 'gated'"),
    "jumprelu topk": (
        {**OLD, "architecture": "jumprelu", "activation_fn": "topk", "activation_fn_str": "topk"},
        (),
        "'jumprelu' with 'topk'",
    ),
    "transcoder": (new("transcoder"), (), "architecture 'transcoder'"),
    "average norm": (new("standard", normalize_activations="expected_average_only_in"), (), "fold it into the weights"),
    "one head": ({**OLD, "hook_head_index": 3}, (), "single attention head"),
    "no threshold": (new("jumprelu"), ("threshold",), "without its threshold"),
    "normalised": (new("standard", normalize_activations="layer_norm"), (), "normalize_activations=layer_norm"),
    "tanh": ({**OLD, "activation_fn_str": "tanh-relu"}, (), "'tanh-relu' is not read"),
    "metadata is a list": ({**OLD, "metadata": [1]}, (), "metadata holds no settings"),
    "arguments are a text": (
        {**OLD, "activation_fn_str": "topk", "activation_fn_kwargs": "k"},
        (),
        "activation_fn_kwargs holds no settings",
    ),
    "the model's arguments are a list": (
        {**OLD, "model_from_pretrained_kwargs": ["x"]},
        (),
        "model_from_pretrained_kwargs holds no settings",
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_be_read_faithfully_is_refused_in_one_line(tmp_path, case):
    settings, drop, said = REFUSED[case]
    with pytest.raises(NlaeError, match=said) as caught:
        Directions.load(folder(tmp_path, settings, drop), D)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "b_dec", "W_dec", "scaling_factor"])
def test_a_tensor_of_another_width_is_refused_and_never_broadcast(tmp_path, name):
    given = {**weights(), "scaling_factor": torch.ones(N)}
    place = folder(tmp_path, {**OLD, "finetuning_scaling_factor": True})
    save_file(given | {name: given[name].flatten()[:1].clone()}, place / "sae_weights.safetensors")
    with pytest.raises(NlaeError, match=r"the file is damaged"):
        Directions.load(place, D)


def test_a_file_of_bare_directions(tmp_path):
    rows = torch.randn(4, D, generator=torch.Generator().manual_seed(2))
    save_file({"directions": rows}, str(tmp_path / "moods.safetensors"), metadata={"site": "resid.5"})
    found = Directions.load(tmp_path / "moods.safetensors", D)
    assert (found.name, found.site) == ("moods", Site("resid", 5))
    assert found.signed
    assert torch.allclose(found.activations(INPUT), INPUT @ F.normalize(rows, dim=1).T, atol=1e-6)
    with pytest.raises(NlaeError, match="another model"):
        Directions.load(tmp_path / "moods.safetensors", D + 1)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(NlaeError, match="cannot be read"):
        Directions.load(tmp_path, D)
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(NlaeError, match="cannot be read"):
        Directions.load(tmp_path / "x.safetensors", D)
    save_file({"rows": torch.zeros(2, D)}, str(tmp_path / "y.safetensors"))
    with pytest.raises(NlaeError, match="no tensor named 'directions'"):
        Directions.load(tmp_path / "y.safetensors", D)


@pytest.mark.parametrize("kind", ["mlp_neurons", "mlp_out", "resid"])
def test_reading_a_site_again_gives_what_the_model_does(kind):
    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    passages = [list(range(5, 5 + size)) for size in (9, 4, 12, 6)]
    positions: list[list[int]] = [[3, 8], [], [0, 11, 2], [5]]
    site = Site(kind, 1) if kind != "resid" else Site(kind, 0)
    found = read_site(target, site, passages, positions, batch_tokens=20)
    wanted = []
    for passage, places in zip(passages, positions, strict=True):
        with capture(target.model, site) as seen, torch.no_grad():
            target.model(input_ids=torch.tensor([passage]))
        wanted += [seen.value[0, place] for place in places]
    assert torch.allclose(found, torch.stack(wanted), atol=1e-5)


RESCALED = {
    "standard": new("standard"),
    "centred": OLD,
    "jumprelu": new("jumprelu"),
    "topk": new("topk", k=3, rescale_acts_by_decoder_norm=True),
}


@pytest.mark.parametrize("case", sorted(RESCALED))
def test_rescaled_decoder_rows_are_the_same_features(tmp_path, case):
    (tmp_path / "as it is").mkdir()
    (tmp_path / "rescaled").mkdir()
    factor_n = torch.linspace(0.2, 7, N)
    rescaled = weights()
    rescaled["W_dec"] *= factor_n[:, None]
    for name in ("W_enc", "b_enc", "threshold"):
        rescaled[name] /= factor_n
    one = Directions.load(folder(tmp_path / "as it is", RESCALED[case]), D)
    folder(tmp_path / "rescaled", RESCALED[case])
    save_file(rescaled, str(tmp_path / "rescaled" / "sae_weights.safetensors"))
    other = Directions.load(tmp_path / "rescaled", D)
    assert torch.allclose(one.write_nd, other.write_nd, atol=1e-6)
    assert torch.allclose(one.activations(INPUT), other.activations(INPUT), atol=1e-4, rtol=1e-4)
    assert one.activations(INPUT).any()


def test_a_scaling_factor_of_finetuning_and_a_log_threshold_are_read(tmp_path):
    given = weights()
    given["log_threshold"] = given.pop("threshold")
    given["scaling_factor"] = torch.linspace(0.5, 2, N)
    settings = new("jumprelu", finetuning_scaling_factor=True)
    (tmp_path / "cfg.json").write_text(json.dumps(settings))
    save_file(given, str(tmp_path / "sae_weights.safetensors"))
    raw = INPUT @ given["W_enc"] + given["b_enc"]
    wanted = raw.relu() * (raw > given["log_threshold"].exp()) * given["scaling_factor"] * given["W_dec"].norm(dim=1)
    assert torch.allclose(Directions.load(tmp_path, D).activations(INPUT), wanted, atol=1e-4)
    given["log_threshold"] = given["log_threshold"][:1].clone()
    save_file(given, str(tmp_path / "sae_weights.safetensors"))
    with pytest.raises(NlaeError, match="one number for each feature"):
        Directions.load(tmp_path, D)
