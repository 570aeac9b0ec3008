"""Writing a checkpoint; its layout is described in `checkpoint`."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import Tensor

from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER
from nlae.model.checkpoint import DISTRACTORS, HEADS, META, PEFT_PREFIX, ROLE, STATISTICS, slot_tokens
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.target.selfcheck import probes

CONTENT = (HEADS, STATISTICS, DISTRACTORS, "tokenizer", VERBALIZER, RECONSTRUCTOR, META)


def save(autoencoder: Autoencoder, folder: Path) -> None:
    """Write `autoencoder` into `folder`, each file under its final name only when whole, `nla_meta.yaml` last.

    A stage's folder holds other files too; they are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "checkpoint.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    state = {key: value.detach().cpu().contiguous() for key, value in autoencoder.trained_state().items()}
    for role in (VERBALIZER, RECONSTRUCTOR):
        _save_role(autoencoder, role, state, new / role)
    save_file({k: v for k, v in state.items() if k.startswith(("head.", "map."))}, str(new / HEADS))
    views = {name: autoencoder.at(name) for name in autoencoder.names}
    statistics = {name: view.statistics.tensors() for name, view in views.items() if view.has_statistics}
    distractors = {name: view.distractors_MD for name, view in views.items()}
    for path, tensors in (
        (STATISTICS, {f"{name}/{key}": x for name, found in statistics.items() for key, x in found.items()}),
        (DISTRACTORS, {name: x_MD.half().contiguous().cpu() for name, x_MD in distractors.items() if x_MD is not None}),
    ):
        if tensors:
            save_file(tensors, str(new / path))
    autoencoder.target.tokenizer.save_pretrained(str(new / "tokenizer"))
    text = yaml.safe_dump(describe(autoencoder), sort_keys=False, allow_unicode=True)
    (new / META).write_text(text, encoding="utf-8")
    for name in CONTENT:
        if (new / name).exists():
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            os.replace(new / name, folder / name)
    new.rmdir()


def describe(autoencoder: Autoencoder) -> dict[str, Any]:
    """The sidecar."""
    verbalizer, reconstructor, backbone = autoencoder.verbalizer, autoencoder.reconstructor, autoencoder.backbone
    adapters = {role: backbone.adapters.get(role) for role in (VERBALIZER, RECONSTRUCTOR)}
    with backbone.use(None):
        seen = probes(autoencoder.target, autoencoder.sites)
    return {
        "kind": "nla_model",
        "schema_version": 3,
        "role": ROLE,
        "stage": autoencoder.meta.get("stage"),
        "base_checkpoint": autoencoder.meta.get("base_checkpoint", autoencoder.target.source_name),
        "d_model": autoencoder.target.d_model,
        "target": autoencoder.meta.get("target"),
        "target_fingerprint": autoencoder.target.fingerprint,
        "sites": [_site(autoencoder.at(name), seen[name]) for name in autoencoder.names],
        "prompt": dataclasses.asdict(verbalizer.prompt),
        "injection": dataclasses.asdict(verbalizer.injection),
        **{f"{role}_adapter": None if found is None else dataclasses.asdict(found) for role, found in adapters.items()},
        "reconstructor": {key: getattr(reconstructor, key) for key in ("magnitude", "max_tokens", "head_rank")},
        "precision": backbone.precision,
        "seed": backbone.seed,
        "training": autoencoder.meta.get("training", {}),
    }


def _site(view: SiteAutoencoder, probe: list[float]) -> dict[str, Any]:
    return {
        "kind": view.site.kind,
        "layer": view.site.index,
        "min_position": view.site.min_position,
        "hook": view.site.hook,
        "injection_scale": view.verbalizer.scale,
        "tokens": slot_tokens(view),
        "probe": probe,
    }


def _save_role(autoencoder: Autoencoder, role: str, state: dict[str, Tensor], folder: Path) -> None:
    """Write the weights of one role out of a trained state, as peft or a plain model has them."""
    folder.mkdir()
    backbone = autoencoder.backbone
    weights = {k.removeprefix(f"{role}."): v for k, v in state.items() if k.startswith(f"{role}.")}
    if role not in backbone.adapters:
        save_file(weights, str(folder / "model.safetensors"))
        return
    save_file({PEFT_PREFIX + k: v for k, v in weights.items()}, str(folder / "adapter_model.safetensors"))
    modules = sorted({k.rsplit(".lora_", 1)[0] for k in weights})
    config = backbone.adapter_config(backbone.adapters[role], modules).to_dict()
    config["base_model_name_or_path"] = autoencoder.meta.get("base_checkpoint", autoencoder.target.source_name)
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    (folder / "adapter_config.json").write_text(json.dumps(plain, indent=2, default=str), encoding="utf-8")
