"""A mixture's checkpoint: the folder of a pair, with the parts of all sites side by side.

As in `nlae.model.checkpoint`: base weights are named by source and fingerprint, nothing is unpickled, `nla_meta.yaml`
comes last. `role: mixture` keeps it from being taken for a pair.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlae.errors import NlaeError
from nlae.functional.scaling import SiteStatistics
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER
from nlae.model.checkpoint import (
    DISTRACTORS,
    HEADS,
    META,
    STATISTICS,
    check_tokens,
    check_width,
    install,
    locate,
    read_meta,
    read_roles,
    save_role,
    settings_from_meta,
    slot_tokens,
    unreadable,
)
from nlae.target import Site, source_from_description
from nlae.target.selfcheck import check_probes, probes

if TYPE_CHECKING:
    from nlae.model.mixture import Mixture

ROLE = "mixture"


def save(mixture: Mixture, folder: Path) -> None:
    """Write `mixture` into `folder`, each file under its final name only when whole."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "checkpoint.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    first = mixture.at(mixture.names[0])
    state = {key: value.detach().cpu().contiguous() for key, value in mixture.trained_state().items()}
    for role in (VERBALIZER, RECONSTRUCTOR):
        save_role(first, role, state, new / role)
    save_file({k: v for k, v in state.items() if k.startswith(("head.", "map."))}, str(new / HEADS))
    statistics: dict[str, Tensor] = {}
    distractors: dict[str, Tensor] = {}
    for name in mixture.names:
        view = mixture.at(name)
        statistics |= _tensors(name, view.statistics)
        if view.distractors_MD is not None:
            distractors[name] = view.distractors_MD.half().contiguous().cpu()
    save_file(statistics, str(new / STATISTICS))
    if distractors:
        save_file(distractors, str(new / DISTRACTORS))
    mixture.target.tokenizer.save_pretrained(str(new / "tokenizer"))
    (new / META).write_text(yaml.safe_dump(describe(mixture), sort_keys=False, allow_unicode=True), encoding="utf-8")
    install(new, folder)


def describe(mixture: Mixture) -> dict[str, Any]:
    """The sidecar of a mixture."""
    settings = mixture.settings
    with mixture.backbone.use(None):
        seen = probes(mixture.target, mixture.sites)
    return {
        "kind": "nla_model",
        "schema_version": 2,
        "role": ROLE,
        "stage": mixture.meta.get("stage"),
        "base_checkpoint": mixture.meta.get("base_checkpoint", mixture.target.source_name),
        "d_model": mixture.target.d_model,
        "target": mixture.meta.get("target"),
        "target_fingerprint": mixture.target.fingerprint,
        "site": mixture.meta.get("site"),
        "sites": [
            {
                "kind": site.kind,
                "layer": site.index,
                "min_position": site.min_position,
                "hook": site.hook,
                "injection_scale": mixture.at(site.name).verbalizer.scale,
                "tokens": slot_tokens(mixture.at(site.name)),
                "probe": seen[site.name],
            }
            for site in mixture.sites
        ],
        "tokens": slot_tokens(mixture.at(mixture.names[0])),
        "prompt": dataclasses.asdict(settings.prompt),
        "injection": dataclasses.asdict(settings.injection),
        "verbalizer_adapter": _plain(settings.verbalizer_adapter),
        "reconstructor_adapter": _plain(settings.reconstructor_adapter),
        "reconstructor": {"magnitude": settings.magnitude, "max_tokens": settings.max_tokens},
        "precision": settings.precision,
        "seed": settings.seed,
        "training": mixture.meta.get("training", {}),
    }


def load(path: str | Path, *, device: str = "cpu", precision: str | None = None) -> Mixture:
    """Read what `save` wrote.

    Raises:
        NlaeError: nothing is there, it is not a mixture, or what is there does not fit together.
    """
    from nlae.model.mixture import Mixture

    folder = locate(path)
    meta = read_meta(folder)
    if meta.get("role") != ROLE:
        raise NlaeError(f"{folder} holds one site (role {meta.get('role')!r}), not a mixture: load it with Autoencoder")
    settings = settings_from_meta(meta)
    if precision is not None:
        settings = dataclasses.replace(settings, precision=precision)
    sites = _sites(meta)
    try:
        statistics = _statistics(load_file(str(folder / STATISTICS)))
        has_distractors = (folder / DISTRACTORS).exists()
        distractors = load_file(str(folder / DISTRACTORS)) if has_distractors else {}
        state = load_file(str(folder / HEADS)) | read_roles(folder)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise unreadable(folder, error) from error
    source = source_from_description(meta["target"])
    if source.fingerprint() != meta["target_fingerprint"]:
        raise NlaeError(f"{folder}: trained on {meta['base_checkpoint']}, whose weights have changed since; not loaded")
    target = source.load(dtype=settings.dtype, device=device)
    mixture = Mixture(
        target,
        sites,
        statistics,
        settings,
        meta=meta,
        distractors={name: unit_MD.float() for name, unit_MD in distractors.items()},
    )
    for entry, name in zip(meta["sites"], mixture.names, strict=True):
        check_width(mixture.at(name), folder)
        check_tokens(mixture.at(name), entry, folder)
    with mixture.backbone.use(None):
        check_probes(
            target, sites, {site.name: entry["probe"] for site, entry in zip(sites, meta["sites"], strict=True)}
        )
    mixture.load_trained_state(state)
    return mixture


def load_trained(path: str | Path, *, device: str = "cpu", precision: str | None = None) -> Autoencoder | Mixture:
    """Read a checkpoint of either kind: a pair or a mixture."""
    folder = locate(path)
    if (folder / META).exists() and read_meta(folder).get("role") == ROLE:
        return load(folder, device=device, precision=precision)
    return Autoencoder.load(path, device=device, precision=precision)


def _sites(meta: dict[str, Any]) -> list[Site]:
    try:
        return [Site(**{key: entry[key] for key in ("kind", "layer", "min_position")}) for entry in meta["sites"]]
    except (KeyError, TypeError) as error:
        raise NlaeError(f"{META}: sites lack or misname {error}: it was written by another version") from error


def _tensors(name: str, statistics: SiteStatistics) -> dict[str, Tensor]:
    """One site's statistics as `SiteStatistics.save` has them, under its name."""
    numbers = [statistics.variance, statistics.alpha, statistics.norm_median, statistics.count]
    return {
        f"{name}/mean": statistics.mean_D.contiguous().cpu(),
        f"{name}/numbers": torch.tensor(numbers, dtype=torch.float64),
    }


def _statistics(tensors: dict[str, Tensor]) -> dict[str, SiteStatistics]:
    found = {}
    for name in {key.rpartition("/")[0] for key in tensors}:
        found[name] = SiteStatistics.of(tensors[f"{name}/mean"], tensors[f"{name}/numbers"])
    return found


def _plain(settings: Any) -> dict[str, Any] | None:
    return None if settings is None else dataclasses.asdict(settings)
