"""A checkpoint is a folder a person can read: safetensors, a tokenizer, and `nla_meta.yaml`.

```
nla_meta.yaml              what it is, from what, at which site, with which prompt; the reference's sidecar and more
verbalizer/ reconstructor/ adapter_config.json, adapter_model.safetensors as peft has them; or model.safetensors
heads.safetensors          head, norm head, injection map
statistics.safetensors     μ, denominator, α      distractors.safetensors   100 training directions, for ranks
training_documents.txt     hashes of the documents it was trained on
tokenizer/
```

The base weights are named by source and fingerprint, not copied. Nothing is unpickled, and nothing runs remote code.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlae.errors import NlaeError
from nlae.files.foreign import finite, read_yaml
from nlae.functional.scaling import SiteStatistics
from nlae.model.autoencoder import Autoencoder, PairSettings
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER, AdapterSettings
from nlae.model.prompt import Prompt
from nlae.model.sidecar import checked
from nlae.model.verbalizer import InjectionSettings
from nlae.target import Site, source_from_description
from nlae.target.selfcheck import check_probe, probe

META = "nla_meta.yaml"
PEFT_PREFIX = "base_model.model."
HEADS, STATISTICS, DISTRACTORS = "heads.safetensors", "statistics.safetensors", "distractors.safetensors"
DATA = ("*.yaml", "*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")  # all that is fetched: no code, no pickle
CONTENT = (META, HEADS, STATISTICS, DISTRACTORS, "tokenizer", VERBALIZER, RECONSTRUCTOR)


def save(pair: Autoencoder, folder: Path) -> None:
    """Write `pair` into `folder`, each file under its final name only when whole, `nla_meta.yaml` last.

    A stage's folder holds other files too; they are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "checkpoint.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    state = {key: value.detach().cpu().contiguous() for key, value in pair.trained_state().items()}
    for role in (VERBALIZER, RECONSTRUCTOR):
        save_role(pair, role, state, new / role)
    save_file({k: v for k, v in state.items() if k.startswith(("head.", "map."))}, str(new / HEADS))
    if pair.has_statistics:
        pair.statistics.save(new / STATISTICS)
    save_distractors(pair, new)
    pair.target.tokenizer.save_pretrained(str(new / "tokenizer"))
    (new / META).write_text(yaml.safe_dump(describe(pair), sort_keys=False, allow_unicode=True), encoding="utf-8")
    install(new, folder)


def install(new: Path, folder: Path) -> None:
    """Move the files of a whole checkpoint from `new` to `folder`, `nla_meta.yaml` last."""
    for name in [*(n for n in CONTENT if n != META), META]:
        if (new / name).exists():
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            os.replace(new / name, folder / name)
    new.rmdir()


def save_distractors(pair: Autoencoder, folder: Path) -> None:
    """Write the vectors that ranks are taken among into `folder`, where the pair has any."""
    if pair.distractors_MD is not None:
        save_file({"unit": pair.distractors_MD.half().contiguous().cpu()}, str(folder / DISTRACTORS))


def read_distractors(folder: Path) -> Tensor | None:
    """The vectors that ranks are taken among, float32 (M, D), or None where `folder` holds none."""
    path = folder / DISTRACTORS
    unit_MD = load_file(str(path))["unit"].float() if path.exists() else None
    if unit_MD is not None and (unit_MD.ndim != 2 or not bool(unit_MD.isfinite().all())):
        raise ValueError(f"the distractors are {tuple(unit_MD.shape)}, not finite vectors")
    return unit_MD


def load(path: str | Path, *, device: str = "cpu", precision: str | None = None) -> Autoencoder:
    """Read a checkpoint folder, an exported `av`/`ar` pair, or a hub id of either.

    Args:
        path: folder, or `owner/name` or `owner/name@revision` on the hub.
        device: of the weights.
        precision: overrides the stored one.

    Raises:
        NlaeError: nothing is there, or what is there does not fit together.
    """
    folder = locate(path)
    if (folder / "av" / META).exists():
        from nlae.model.reference_layout import load_reference

        return load_reference(folder / "av", folder / "ar", device=device, precision=precision or "fp32")
    meta = read_meta(folder)
    if meta.get("role") == "mixture":
        raise NlaeError(f"{folder} holds a mixture, not one pair (format=reference holds pairs only)")
    if meta.get("role") != "pair":
        raise NlaeError(
            f"{folder} holds one half only (role {meta.get('role')!r}): put both halves into one folder as av/ and ar/"
        )
    settings, site = settings_from_meta(meta), _site(meta)
    if precision is not None:
        settings = dataclasses.replace(settings, precision=precision)
    statistics, distractors, state = _read_tensors(folder)
    source = source_from_description(meta["target"])
    if source.fingerprint() != meta["target_fingerprint"]:
        raise NlaeError(f"{folder}: trained on {meta['base_checkpoint']}, whose weights have changed since; not loaded")
    target = source.load(dtype=settings.dtype, device=device)
    site = site.resolve(target.n_layers)
    pair = Autoencoder(target, site, statistics, settings, meta=meta, distractors_MD=distractors)
    check_width(pair, folder)
    check_tokens(pair, meta, folder)
    if meta.get("probe"):
        with pair.backbone.use(None):
            check_probe(target, site, meta["probe"])
    pair.load_trained_state(state)
    return pair


def locate(path: str | Path) -> Path:
    """The folder of a checkpoint; a hub id is downloaded.

    Raises:
        NlaeError: there is no such folder, and the hub cannot be reached or does not know it.
    """
    folder = Path(path).expanduser()
    if os.path.exists(folder) or str(path).count("/") != 1 or str(path).startswith((".", "/", "~")):
        if not any(os.path.exists(place / META) for place in (folder, folder / "av")):  # false where it may not look
            said = f"no {META} there that may be read; give a warmstart, reinforce or exported folder"
            raise NlaeError(f"checkpoint={path}: {said}")
        return folder
    from huggingface_hub import snapshot_download

    name, _, revision = str(path).partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(DATA)))
    except Exception as error:
        raise NlaeError(f"checkpoint={path}: neither a folder here nor to be had from the hub ({error})") from error


def read_meta(folder: Path) -> dict[str, Any]:
    """The sidecar of a checkpoint folder: the keys that `nlae.model.sidecar` lists, checked.

    Raises:
        NlaeError: missing, not YAML, not of this kind, or a value that does not fit.
    """
    try:
        meta = read_yaml(folder / META)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NlaeError(f"{folder / META} cannot be read ({reason}); copy the checkpoint again") from error
    if not isinstance(meta, dict) or meta.get("kind") != "nla_model":
        raise NlaeError(f"{folder / META} does not describe a natural language autoencoder (kind is not nla_model)")
    try:
        return checked(meta)
    except ValueError as error:
        raise NlaeError(f"{folder / META} says what no checkpoint may say: {error}; nothing of it was used") from error


def describe(pair: Autoencoder) -> dict[str, Any]:
    """The sidecar: the reference's keys, then ours."""
    settings = pair.settings
    with pair.backbone.use(None):
        seen = probe(pair.target, pair.site)
    return {
        "kind": "nla_model",
        "schema_version": 2,
        "role": "pair",
        "stage": pair.meta.get("stage"),
        "base_checkpoint": pair.meta.get("base_checkpoint", pair.target.source_name),
        "d_model": pair.target.d_model,
        "extraction_layer_index": pair.site.index,
        "extraction": {"injection_scale": pair.verbalizer.scale, "mse_scale": None},
        "tokens": slot_tokens(pair),
        "target": pair.meta.get("target"),
        "target_fingerprint": pair.target.fingerprint,
        "site": {"kind": pair.site.kind, "layer": pair.site.index, "min_position": pair.site.min_position},
        "hook": pair.site.hook,
        "probe": seen,
        "prompt": dataclasses.asdict(settings.prompt),
        "injection": dataclasses.asdict(settings.injection),
        "verbalizer_adapter": _asdict(settings.verbalizer_adapter),
        "reconstructor_adapter": _asdict(settings.reconstructor_adapter),
        "reconstructor": {"magnitude": settings.magnitude, "max_tokens": settings.max_tokens},
        "precision": settings.precision,
        "seed": settings.seed,
        "training": pair.meta.get("training", {}),
    }


def slot_tokens(pair: Autoencoder) -> dict[str, Any]:
    """Ids that fix where a vector enters and where it is read, as the live tokenizer has them."""
    ids, tokenizer = pair.verbalizer.ids, pair.target.tokenizer
    return {
        "injection_char": tokenizer.decode([ids.slot_id]),
        "injection_token_id": ids.slot_id,
        "injection_left_neighbor_id": ids.neighbours[0],
        "injection_right_neighbor_id": ids.neighbours[1],
        "critic_suffix_ids": list(pair.prompt.reconstructor_suffix_ids(tokenizer)),
    }


def settings_from_meta(meta: Mapping[str, Any]) -> PairSettings:
    """Shape of the pair that a sidecar of ours describes.

    Raises:
        NlaeError: it lacks or misnames something.
    """
    try:
        for key in ("target", "target_fingerprint", "base_checkpoint", "site", "tokens"):
            meta[key]
        if not meta["target"]:
            raise KeyError("target")
        return PairSettings(
            prompt=Prompt(**meta["prompt"]),
            injection=InjectionSettings(**meta["injection"]),
            verbalizer_adapter=_adapter(meta["verbalizer_adapter"]),
            reconstructor_adapter=_adapter(meta["reconstructor_adapter"]),
            precision=meta["precision"],
            seed=meta["seed"],
            **meta["reconstructor"],
        )
    except (KeyError, TypeError) as error:
        raise NlaeError(f"{META} lacks or misnames {error}: it was written by another version") from error


def _site(meta: Mapping[str, Any]) -> Site:
    try:
        return Site(**meta["site"])
    except TypeError as error:
        raise NlaeError(f"{META}: site misnames something ({error}): it was written by another version") from error


def check_width(pair: Autoencoder, folder: Path) -> None:
    """The training mean against the activations of this site."""
    width = pair.reconstructor.head.weight.shape[0]
    if pair.has_statistics and (found := pair.statistics.mean_D.shape[0]) != width:
        raise NlaeError(f"{folder}: its mean has {found} entries, but the site's activations have {width}")


def check_tokens(pair: Autoencoder, meta: Mapping[str, Any], folder: Path) -> None:
    """The sidecar's ids against the live tokenizer; a silent disagreement would inject into the wrong place."""
    stored, live = meta.get("tokens") or {}, slot_tokens(pair)
    for key in ("injection_token_id", "injection_left_neighbor_id", "injection_right_neighbor_id", "critic_suffix_ids"):
        if stored.get(key) != live[key]:
            raise NlaeError(
                f"{folder / META}: tokens.{key} is {stored.get(key)}, but this tokenizer and prompt give {live[key]}"
            )


def save_role(pair: Autoencoder, role: str, state: dict[str, Tensor], folder: Path) -> None:
    """Write the weights of one role out of a trained state, as peft or a plain model has them."""
    folder.mkdir()
    weights = {k.removeprefix(f"{role}."): v for k, v in state.items() if k.startswith(f"{role}.")}
    if role not in pair.backbone.adapters:
        save_file(weights, str(folder / "model.safetensors"))
        return
    save_file({PEFT_PREFIX + k: v for k, v in weights.items()}, str(folder / "adapter_model.safetensors"))
    modules = sorted({k.rsplit(".lora_", 1)[0] for k in weights})
    config = pair.backbone.adapter_config(pair.backbone.adapters[role], modules).to_dict()
    config["base_model_name_or_path"] = pair.meta.get("base_checkpoint", pair.target.source_name)
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    (folder / "adapter_config.json").write_text(json.dumps(plain, indent=2, default=str), encoding="utf-8")


def _read_tensors(folder: Path) -> tuple[SiteStatistics | None, Tensor | None, dict[str, Tensor]]:
    """Statistics and distractors where there are any, and all trained weights."""
    try:
        statistics = _optional(folder / STATISTICS, SiteStatistics.load)
        distractors = read_distractors(folder)
        state = finite(load_file(str(folder / HEADS)))
        state |= read_roles(folder)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise unreadable(folder, error) from error
    return statistics, distractors, state


def read_roles(folder: Path) -> dict[str, Tensor]:
    """The weights of both roles by `role.name`."""
    state: dict[str, Tensor] = {}
    for role in (VERBALIZER, RECONSTRUCTOR):
        adapter = folder / role / "adapter_model.safetensors"
        weights = load_file(str(adapter if adapter.exists() else folder / role / "model.safetensors"))
        state |= {f"{role}.{k.removeprefix(PEFT_PREFIX)}": v for k, v in weights.items()}
    return finite(state)


def unreadable(folder: Path, error: Exception) -> NlaeError:
    """What to say of a checkpoint whose weights are damaged."""
    reason = " ".join(str(error).split())
    return NlaeError(f"{folder}: weights cannot be read ({reason}); copy the checkpoint again")


def _adapter(values: Mapping[str, Any] | None) -> AdapterSettings | None:
    return None if values is None else AdapterSettings(**values)


def _asdict(settings: AdapterSettings | None) -> dict[str, Any] | None:
    return None if settings is None else dataclasses.asdict(settings)


def _optional(path: Path, read: Any) -> Any:
    return read(path) if path.exists() else None
