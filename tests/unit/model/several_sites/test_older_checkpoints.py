"""Folders that schema 2 wrote, one layout for one site and another for several, say what those of today say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from nlae.errors import NlaeError
from nlae.model.autoencoder import Autoencoder
from nlae.model.checkpoint import DISTRACTORS, HEADS, META, STATISTICS
from nlae.model.injection import InjectionSettings

TEXTS = ["a red cat", "the dog"]


def renamed(path: Path, change: dict[str, str]) -> None:
    """Rewrite a file of tensors with each old start of a name in place of today's."""
    tensors = load_file(str(path))
    for new, old in change.items():
        tensors = {old + key.removeprefix(new) if key.startswith(new) else key: x for key, x in tensors.items()}
    save_file(tensors, str(path))


def rewrite(folder: Path, change: dict[str, Any], drop: tuple[str, ...] = ()) -> None:
    meta = yaml.safe_load((folder / META).read_text()) | {"schema_version": 2, **change}
    (folder / META).write_text(yaml.safe_dump({key: value for key, value in meta.items() if key not in drop}))


def as_pair(folder: Path) -> None:
    """What one site's folder was before: keys of the site at the root, tensors without its name."""
    (site,) = yaml.safe_load((folder / META).read_text())["sites"]
    name = f"{site['kind']}.{site['layer']}"
    facts = {key: site[key] for key in ("hook", "tokens", "probe")}
    injection = yaml.safe_load((folder / META).read_text())["injection"]
    rewrite(
        folder,
        {
            "role": "pair",
            "extraction_layer_index": site["layer"],
            "extraction": {"injection_scale": site["injection_scale"], "mse_scale": None},
            "site": {key: site[key] for key in ("kind", "layer", "min_position")},
            "injection": injection | {"scale": site["injection_scale"]},
            **facts,
        },
        ("sites",),
    )
    renamed(folder / HEADS, {f"head.{name}.": "head.", f"map.{name}.": "map."})
    renamed(folder / STATISTICS, {f"{name}/": ""})
    renamed(folder / DISTRACTORS, {name: "unit"})


def as_mixture(folder: Path) -> None:
    """What several sites' folder was before."""
    meta = yaml.safe_load((folder / META).read_text())
    node = {"_target_": "nlae.mixture.SiteMixture", "kinds": ["mlp_in", "mlp_neurons"], "layers": [0, 2]}
    rewrite(folder, {"role": "mixture", "tokens": meta["sites"][0]["tokens"], "site": node})


@pytest.mark.parametrize("shape", [{}, {"mode": "affine", "magnitude": True}], ids=["plain", "all heads"])
def test_a_pair_of_before_loads(make_pair, activations, tmp_path, shape):
    pair = make_pair(**shape)
    pair.at().distractors_MD = torch.randn(5, 32).half().float()
    pair.save(tmp_path)
    as_pair(tmp_path)
    assert "head.head.weight" in load_file(str(tmp_path / HEADS)), "as it was before"
    again = Autoencoder.load(tmp_path)
    assert again.names == ("resid.1",)
    for name, weight in pair.trained_state().items():
        assert torch.equal(weight, again.trained_state()[name]), name
    assert again.verbalize(activations, seeds=range(12)) == pair.verbalize(activations, seeds=range(12))
    assert torch.equal(again.reconstruct(TEXTS), pair.reconstruct(TEXTS))
    assert torch.equal(again.at().distractors_MD, pair.at().distractors_MD)
    assert again.statistics.alpha == pair.statistics.alpha
    again.save(tmp_path / "again")
    assert yaml.safe_load((tmp_path / "again" / META).read_text())["schema_version"] == 3


def test_what_was_checked_of_a_pair_is_checked_still(make_pair, tmp_path):
    pair = make_pair()
    pair.at().distractors_MD = torch.randn(5, 32)
    pair.save(tmp_path)
    as_pair(tmp_path)
    meta = yaml.safe_load((tmp_path / META).read_text())
    for change, said in (
        ({"probe": [-x for x in meta["probe"]]}, "does not give the activations"),
        ({"tokens": meta["tokens"] | {"injection_token_id": 17}}, "injection_token_id"),
        ({"site": meta["site"] | {"layer": 99}}, "out of range"),
        ({"site": None}, "sites lack or misname"),
    ):
        rewrite(tmp_path, meta | change)
        with pytest.raises(NlaeError, match=said):
            Autoencoder.load(tmp_path)


def test_several_sites_of_before_load(make_autoencoder, tmp_path):
    several = make_autoencoder(injection=InjectionSettings(map="learned"))
    several.save(tmp_path)
    as_mixture(tmp_path)
    again = Autoencoder.load(tmp_path)
    assert again.names == several.names
    for name, weight in several.trained_state().items():
        assert torch.equal(weight, again.trained_state()[name]), name
    for name, unit_ND in several.reconstructor.readings(TEXTS).items():
        assert torch.equal(unit_ND, again.reconstructor.readings(TEXTS)[name])
