import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from nlae.dictionary.subjects.directions import Directions, named_site
from nlae.errors import NlaeError
from nlae.target import Site

D, N = 12, 30
NEW = {"d_in": D, "d_sae": N, "dtype": "float32", "apply_b_dec_to_input": False, "normalize_activations": "none"}


def weights(architecture: str = "standard") -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (D, N), "b_enc": (N,), "W_dec": (N, D), "b_dec": (D,)}
    drawn = {name: torch.randn(shape, generator=source) for name, shape in shapes.items()}
    if architecture == "jumprelu":
        drawn["threshold"] = torch.randn(N, generator=source)
    if architecture == "gated":
        del drawn["b_enc"]
        drawn |= {name: torch.randn(N, generator=source) for name in ("b_gate", "b_mag", "r_mag")}
    return drawn


def folder(path: Path, settings: dict[str, Any], **replaced: torch.Tensor) -> Path:
    path.mkdir(exist_ok=True)
    (path / "cfg.json").write_text(json.dumps(settings))
    given = weights(settings.get("architecture", "standard")) | replaced
    save_file(given, str(path / "sae_weights.safetensors"))
    return path


@pytest.fixture
def library():
    """SAELens, where the extra is installed."""
    return pytest.importorskip("sae_lens")


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
    "gated": (
        new("gated"),
        Site("resid", 3),
        lambda w: ((p := INPUT @ w["W_enc"]) + w["b_gate"] > 0) * (p * w["r_mag"].exp() + w["b_mag"]).relu(),
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
def test_a_saelens_folder_encodes_as_documented(tmp_path, library, case):
    settings, _, expected = CASES[case]
    found = Directions.load(folder(tmp_path, settings), D)
    given = weights(settings.get("architecture", "standard"))
    assert torch.equal(found.write_nd, F.normalize(given["W_dec"], dim=1))
    # what a feature writes is its activation times its decoder row
    rescaled = settings.get("rescale_acts_by_decoder_norm")
    size_n = torch.ones(N) if rescaled else given["W_dec"].norm(dim=1)
    activations = found.activations(INPUT)
    assert torch.allclose(activations, expected(given) * size_n, atol=1e-4)
    assert activations.any()
    assert not activations.requires_grad
    assert not found.signed
    assert len(found) == N


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_site_of_a_folder_is_known_without_weights_or_library(tmp_path, monkeypatch, case):
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    settings, site, _ = CASES[case]
    (folder(tmp_path, settings) / "sae_weights.safetensors").unlink()
    found = named_site(tmp_path)
    assert (found.kind, found.layer) == (site.kind, site.layer)


@pytest.mark.parametrize("change", ["architecture", "rescaling"])
def test_what_saelens_saves_is_read(tmp_path, library, change):
    """Its own encoder and its own decoder: activation times unit row, summed up, is what it rebuilds."""
    common = {"d_in": D, "d_sae": N, "apply_b_dec_to_input": False}
    config = library.TopKSAEConfig(**common, k=4, rescale_acts_by_decoder_norm=change == "rescaling")
    config.metadata.hook_name = "blocks.2.hook_mlp_out"
    sae = library.TopKSAE(config)
    sae.W_dec.data.mul_(torch.linspace(0.2, 5, N)[:, None])
    sae.save_model(tmp_path)
    found = Directions.load(tmp_path, D)
    assert found.site == Site("mlp_out", 2)
    with torch.no_grad():
        rebuilt = sae(INPUT)
    torch.testing.assert_close(found.activations(INPUT) @ found.write_nd + sae.b_dec.detach(), rebuilt)


REFUSED_SITES: dict[str, tuple[dict[str, Any], str]] = {
    "attention": (new("standard", "blocks.1.attn.hook_z"), "hook_name='blocks.1.attn.hook_z'"),
    "before the first block": (new("standard", "blocks.0.hook_resid_pre"), "no site that is read here"),
    "metadata is a list": ({**OLD, "metadata": [1]}, "cannot be read"),
}


@pytest.mark.parametrize("case", sorted(REFUSED_SITES))
def test_sites_that_are_not_read_are_refused_in_one_line(tmp_path, case):
    settings, said = REFUSED_SITES[case]
    for load in (named_site, lambda path: Directions.load(path, D)):
        with pytest.raises(NlaeError, match=said) as caught:
            load(folder(tmp_path, settings))
        assert "\n" not in str(caught.value)
        assert "cfg.json" in str(caught.value)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor], str]] = {
    "no k": (new("topk"), {}, "whose k is None"),
    "k is no count": (new("topk", k=0), {}, "whose k is 0"),
    "unknown": (new("sideways"), {}, "SAELens cannot read it"),
    "average norm": (new("standard", normalize_activations="expected_average_only_in"), {}, "fold it into the weights"),
    "odd norm": (new("standard", normalize_activations="odd"), {}, "SAELens cannot read it"),
    "transcoder": (
        new("transcoder", d_out=D, hook_name_out="blocks.3.hook_mlp_out"),
        {},
        "architecture 'transcoder' is not read",
    ),
    "another width": (new("standard"), {"W_enc": torch.zeros(1)}, "SAELens cannot read it"),
    "no threshold": (new("jumprelu"), {"threshold": torch.zeros(1)}, "SAELens cannot read it"),
    "not finite": (new("standard"), {"W_dec": torch.full((N, D), torch.nan)}, "not finite"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_be_read_faithfully_is_refused_in_one_line(tmp_path, library, case):
    settings, replaced, said = REFUSED[case]
    with pytest.raises(NlaeError, match=said) as caught:
        Directions.load(folder(tmp_path, settings, **replaced), D)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_without_the_extra_or_with_pickled_weights_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    folder(tmp_path, new("standard"))
    with pytest.raises(NlaeError, match=r"pip install 'nlae\[sae\]'"):
        Directions.load(tmp_path, D)
    (tmp_path / "sae_weights.safetensors").rename(tmp_path / "sae_weights.pt")
    with pytest.raises(NlaeError, match="only safetensors are read"):
        Directions.load(tmp_path, D)


def test_a_file_of_bare_directions(tmp_path):
    rows = torch.randn(4, D, generator=torch.Generator().manual_seed(2))
    save_file({"directions": rows}, str(tmp_path / "moods.safetensors"), metadata={"site": "resid.5"})
    found = Directions.load(tmp_path / "moods.safetensors", D)
    assert found.site == Site("resid", 5)
    assert found.signed
    assert torch.allclose(found.activations(INPUT), INPUT @ F.normalize(rows, dim=1).T, atol=1e-6)
    assert named_site(tmp_path / "moods.safetensors") == Site("resid", 5)
    with pytest.raises(NlaeError, match="another model"):
        Directions.load(tmp_path / "moods.safetensors", D + 1)
    for metadata in ({}, {"site": "resid"}):
        save_file({"directions": rows}, str(tmp_path / "nowhere.safetensors"), metadata=metadata)
        with pytest.raises(NlaeError, match=r"does not name its site: give it the metadata site, as resid\.12"):
            Directions.load(tmp_path / "nowhere.safetensors", D)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(NlaeError, match="cannot be read"):
        Directions.load(tmp_path, D)
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(NlaeError, match="cannot be read"):
        Directions.load(tmp_path / "x.safetensors", D)
    save_file({"rows": torch.zeros(2, D)}, str(tmp_path / "y.safetensors"), metadata={"site": "resid.1"})
    with pytest.raises(NlaeError, match="no tensor named 'directions'"):
        Directions.load(tmp_path / "y.safetensors", D)


RESCALED = {
    "standard": new("standard"),
    "centred": OLD,
    "jumprelu": new("jumprelu"),
    "topk": new("topk", k=3, rescale_acts_by_decoder_norm=True),
}


@pytest.mark.parametrize("case", sorted(RESCALED))
def test_rescaled_decoder_rows_are_the_same_features(tmp_path, library, case):
    settings, factor_n = RESCALED[case], torch.linspace(0.2, 7, N)
    rescaled = weights(settings.get("architecture", "standard"))
    rescaled["W_dec"] = rescaled["W_dec"] * factor_n[:, None]
    for name in {"W_enc", "b_enc", "threshold"} & set(rescaled):
        rescaled[name] = rescaled[name] / factor_n
    one = Directions.load(folder(tmp_path / "as it is", settings), D)
    other = Directions.load(folder(tmp_path / "rescaled", settings, **rescaled), D)
    assert torch.allclose(one.write_nd, other.write_nd, atol=1e-6)
    assert torch.allclose(one.activations(INPUT), other.activations(INPUT), atol=1e-4, rtol=1e-4)
    assert one.activations(INPUT).any()
