"""A checkpoint is a folder a person can read: safetensors, a tokenizer, and `nla_meta.yaml`.

```
nla_meta.yaml              what it is, from what, at which sites, with which prompt
verbalizer/ reconstructor/ adapter_config.json, adapter_model.safetensors as peft has them; or model.safetensors
heads.safetensors          head.<site>.…, norm head and injection map of each site
statistics.safetensors     μ, denominator, α of each site
distractors.safetensors    100 training directions of each site, for ranks
training_documents.txt     hashes of the documents it was trained on
tokenizer/
```

The base weights are named by source and fingerprint, not copied. Nothing is unpickled, and nothing runs remote code.
Writing is in `checkpoint_writing`, what older versions wrote in `checkpoint_older`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nlae.errors import NlaeError
from nlae.files.foreign import finite, read_yaml
from nlae.functional.scaling import SiteStatistics
from nlae.model.adapters import AdapterSettings
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER, Backbone, base_dtype
from nlae.model.checkpoint_older import named_by_site, upgraded
from nlae.model.injection import InjectionSettings
from nlae.model.prompt import Prompt
from nlae.model.reconstructor import Reconstructor
from nlae.model.sidecar import checked
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.model.verbalizer import Verbalizer
from nlae.target import Site, source_from_description
from nlae.target.selfcheck import check_probes

META = "nla_meta.yaml"
ROLE = "autoencoder"
PEFT_PREFIX = "base_model.model."
HEADS, STATISTICS, DISTRACTORS = "heads.safetensors", "statistics.safetensors", "distractors.safetensors"
DATA = ("*.yaml", "*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")  # all that is fetched: no code, no pickle
NEEDED = (
    "target",
    "target_fingerprint",
    "base_checkpoint",
    "sites",
    "prompt",
    "injection",
    "reconstructor",
    "precision",
)


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
    if meta.get("role") != ROLE:
        raise NlaeError(
            f"{folder} holds one half only (role {meta.get('role')!r}): put both halves into one folder as av/ and ar/"
        )
    if missing := [key for key in NEEDED if not meta.get(key)]:
        raise NlaeError(f"{folder / META} lacks {', '.join(missing)}: it was written by another version")
    try:
        sites = [Site(**{key: entry[key] for key in ("kind", "layer", "min_position")}) for entry in meta["sites"]]
    except (KeyError, TypeError) as error:
        raise NlaeError(f"{folder / META}: sites lack or misname {error}: it was written by another version") from error
    statistics, distractors, state = _read_tensors(folder, sites)
    source = source_from_description(meta["target"])
    if source.fingerprint() != meta["target_fingerprint"]:
        raise NlaeError(f"{folder}: trained on {meta['base_checkpoint']}, whose weights have changed since; not loaded")
    precision = precision or meta["precision"]
    target = source.load(dtype=base_dtype(precision), device=device)
    sites = [site.resolve(target.n_layers) for site in sites]
    backbone = Backbone(target, sites, precision=precision, seed=meta["seed"])
    verbalizer, reconstructor = _roles(backbone, statistics, meta)
    autoencoder = Autoencoder(verbalizer, reconstructor, meta=meta, distractors=distractors)
    for entry, name in zip(meta["sites"], autoencoder.names, strict=True):
        check_width(autoencoder.at(name), folder)
        check_tokens(autoencoder.at(name), entry, folder)
    with backbone.use(None):
        probes = zip(autoencoder.names, meta["sites"], strict=True)
        check_probes(target, sites, {name: entry.get("probe") or [] for name, entry in probes})
    autoencoder.load_trained_state(state)
    return autoencoder


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
    """The sidecar of a checkpoint folder: the keys that `nlae.model.sidecar` lists, checked, in the form of today.

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
        return upgraded(checked(meta))
    except ValueError as error:
        raise NlaeError(f"{folder / META} says what no checkpoint may say: {error}; nothing of it was used") from error


def slot_tokens(view: SiteAutoencoder) -> dict[str, Any]:
    """Ids that fix where a vector enters and where it is read, as the live tokenizer has them."""
    ids, tokenizer = view.verbalizer.ids, view.target.tokenizer
    return {
        "injection_char": tokenizer.decode([ids.slot_id]),
        "injection_token_id": ids.slot_id,
        "injection_left_neighbor_id": ids.neighbours[0],
        "injection_right_neighbor_id": ids.neighbours[1],
        "critic_suffix_ids": list(view.prompt.reconstructor_suffix_ids(tokenizer)),
    }


def check_width(view: SiteAutoencoder, folder: Path) -> None:
    """The training mean against the activations of this site."""
    width = view.reconstructor.width
    if view.has_statistics and (found := view.statistics.mean_D.shape[0]) != width:
        raise NlaeError(f"{folder}: its mean has {found} entries, but the site's activations have {width}")


def check_tokens(view: SiteAutoencoder, meta: Mapping[str, Any], folder: Path) -> None:
    """The sidecar's ids against the live tokenizer; a silent disagreement would inject into the wrong place."""
    stored, live = meta.get("tokens") or {}, slot_tokens(view)
    for key in ("injection_token_id", "injection_left_neighbor_id", "injection_right_neighbor_id", "critic_suffix_ids"):
        if stored.get(key) != live[key]:
            raise NlaeError(
                f"{folder / META}: tokens.{key} is {stored.get(key)}, but this tokenizer and prompt give {live[key]}"
            )


def read_distractors(path: Path) -> dict[str, Tensor]:
    """The vectors that ranks are taken among, float32 (M, width), by site name or as `unit`."""
    found = load_file(str(path)) if path.exists() else {}
    for unit_MD in found.values():
        if unit_MD.ndim != 2 or not bool(unit_MD.isfinite().all()):
            raise ValueError(f"the distractors are {tuple(unit_MD.shape)}, not finite vectors")
    return {name: unit_MD.float() for name, unit_MD in found.items()}


def _read_tensors(
    folder: Path, sites: Sequence[Site]
) -> tuple[dict[str, SiteStatistics], dict[str, Tensor], dict[str, Tensor]]:
    """Statistics and distractors by site where there are any, and all trained weights."""
    try:
        names = [site.name for site in sites]
        stored = load_file(str(folder / STATISTICS)) if (folder / STATISTICS).exists() else {}
        stored = named_by_site(stored, names)
        found = {key.rpartition("/")[0] for key in stored}
        statistics = {name: SiteStatistics.of(stored[f"{name}/mean"], stored[f"{name}/numbers"]) for name in found}
        distractors = named_by_site(read_distractors(folder / DISTRACTORS), names)
        state = finite(named_by_site(load_file(str(folder / HEADS)), names)) | _read_roles(folder)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NlaeError(f"{folder}: weights cannot be read ({reason}); copy the checkpoint again") from error
    return statistics, distractors, state


def _read_roles(folder: Path) -> dict[str, Tensor]:
    """The weights of both roles by `role.name`."""
    state: dict[str, Tensor] = {}
    for role in (VERBALIZER, RECONSTRUCTOR):
        adapter = folder / role / "adapter_model.safetensors"
        weights = load_file(str(adapter if adapter.exists() else folder / role / "model.safetensors"))
        state |= {f"{role}.{k.removeprefix(PEFT_PREFIX)}": v for k, v in weights.items()}
    return finite(state)


def _roles(
    backbone: Backbone, statistics: Mapping[str, SiteStatistics], meta: Mapping[str, Any]
) -> tuple[Verbalizer, Reconstructor]:
    """Both roles with the shape that a sidecar describes, before anything was learned."""
    try:
        shared: dict[str, Any] = {"prompt": Prompt(**meta["prompt"]), "statistics": statistics}
        injection = InjectionSettings(**meta["injection"])
        adapters = [
            None if meta[key] is None else AdapterSettings(**meta[key])
            for key in ("verbalizer_adapter", "reconstructor_adapter")
        ]
        verbalizer = Verbalizer(backbone=backbone, adapter=adapters[0], injection=injection, **shared)
        return verbalizer, Reconstructor(backbone=backbone, adapter=adapters[1], **meta["reconstructor"], **shared)
    except (KeyError, TypeError) as error:
        raise NlaeError(f"{META} lacks or misnames {error}: it was written by another version") from error
