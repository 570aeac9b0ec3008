"""The reference library's checkpoint layout: `av/` and `ar/`, ordinary Hugging Face folders with adapters merged.

Only injection by replacement at the embedding can be said in it; anything else is refused, since a reader of the
layout would inject differently and never know. Its sidecar has no place for activation statistics and for the vectors
that ranks are taken among: they lie beside it in files of our own, which a foreign reader ignores; a pair without them
shows cosine, not FVE, and no rank.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlae.errors import NlaeError
from nlae.functional.scaling import SiteStatistics
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER, Backbone, base_dtype
from nlae.model.checkpoint import DISTRACTORS, META, STATISTICS, check_tokens, read_distractors, read_meta
from nlae.model.checkpoint_writing import describe
from nlae.model.injection import InjectionSettings
from nlae.model.prompt import Prompt
from nlae.model.reconstructor import Reconstructor
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.model.verbalizer import Verbalizer
from nlae.target import HubTarget, Site, Target, source_from_description
from nlae.target.loading import quiet_bars
from nlae.target.scales import embedding_multiplier

HEAD = "value_head.safetensors"
# a text of 150 tokens and any template; a foreign sidecar does not say
MAX_TOKENS = 512


def export_reference(pair: Autoencoder, folder: Path) -> None:
    """Write `folder/av` and `folder/ar`, each whole or not at all.

    Raises:
        NlaeError: the pair cannot be said in this layout.
    """
    view = _exportable(pair)
    for half, write in (("av", _write_verbalizer), ("ar", _write_reconstructor)):
        new = folder / f"{half}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        write(view, new)
        pair.target.tokenizer.save_pretrained(str(new))
        if view.has_statistics:
            view.statistics.save(new / STATISTICS)
        if view.distractors_MD is not None:
            save_file({"unit": view.distractors_MD.half().contiguous().cpu()}, str(new / DISTRACTORS))
        (new / META).write_text(yaml.safe_dump(sidecar(pair, half), sort_keys=False, allow_unicode=True), "utf-8")
        shutil.rmtree(folder / half, ignore_errors=True)
        new.rename(folder / half)


def load_reference(av: Path, ar: Path, *, device: str = "cpu", precision: str = "fp32") -> Autoencoder:
    """Read a pair in the reference layout.

    Raises:
        NlaeError: a half is missing, or the two do not belong together.
    """
    for half in (av, ar):
        if not (half / META).exists():
            raise NlaeError(f"{half}: no {META}; a reference pair is two folders, av and ar")
    av_meta, ar_meta = read_meta(av), read_meta(ar)
    layer = extraction_layer(ar_meta, ar)
    if extraction_layer(av_meta, av) != layer:
        raise NlaeError(f"{av} and {ar} were made for different layers ({extraction_layer(av_meta, av)}, {layer})")
    dtype = base_dtype(precision)
    shape, site = _shape(av_meta, ar_meta, layer)
    statistics, distractors, head = _tensors(av, ar)
    source = _base(av_meta)
    target = source.load(dtype=dtype, device=device)
    _check_embeddings(target)
    verbalizer = HubTarget(name="av", model=str(av)).load(dtype=dtype, device=device)
    reader = HubTarget(name="ar", model=str(ar)).load(dtype=dtype, device=device, trunk_only=True)
    site = site.resolve(target.n_layers)
    backbone = Backbone.of_models(target, site, verbalizer.model, reader.model, precision=precision)
    meta = {"stage": "reference", "base_checkpoint": av_meta.get("base_checkpoint"), "target": source.describe()}
    shared: dict[str, Any] = {"backbone": backbone, "prompt": shape["prompt"], "adapter": None}
    shared["statistics"] = None if statistics is None else {site.name: statistics}
    pair = Autoencoder(
        Verbalizer(injection=shape["injection"], **shared),
        Reconstructor(max_tokens=shape["max_tokens"], **shared),
        meta=meta,
        distractors=None if distractors is None else {site.name: distractors},
    )
    check_tokens(pair.at(), av_meta, av)
    own = pair.reconstructor.at().head.weight
    if head.shape != own.shape:
        raise NlaeError(f"{ar / HEAD} is {tuple(head.shape)}, but activations have {target.d_model} entries")
    with torch.no_grad():
        own.copy_(head)
    return pair


def extraction_layer(meta: Mapping[str, Any], folder: Path) -> int:
    """K of a reference sidecar, whichever version wrote it.

    Raises:
        NlaeError: it does not say.
    """
    critic = meta.get("critic") or {}
    for value in (meta.get("extraction_layer_index"), critic.get("extraction_layer_index")):
        if value is not None:
            return int(value)
    if "num_hidden_layers" in critic:
        return int(critic["num_hidden_layers"]) - 1
    raise NlaeError(f"{folder / META} does not name the layer (extraction_layer_index)")


def sidecar(pair: Autoencoder, half: str) -> dict[str, Any]:
    """The reference's sidecar (v2) for one half, with our own facts as further keys, which its readers ignore."""
    ours, view = describe(pair), pair.at()
    (place,) = ours["sites"]
    prompt = view.prompt
    return {
        "kind": ours["kind"],
        "schema_version": 2,
        **{key: ours[key] for key in ("stage", "base_checkpoint", "d_model")},
        "extraction_layer_index": view.site.index,
        "tokens": place["tokens"],
        "role": half,
        "extraction": {
            "injection_scale": view.verbalizer.scale,
            "mse_scale": math.sqrt(pair.target.d_model) if half == "ar" else None,
        },
        "prompt_templates": {
            "av": prompt.verbalizer.replace("{slot}", "{injection_char}"),
            "ar": prompt.reconstructor,
        },
        "critic": {"extraction_layer_index": view.site.index},
        "target": ours["target"],
        "site": {key: place[key] for key in ("kind", "layer", "min_position")},
        "prompt": ours["prompt"],
        "reconstructor": ours["reconstructor"] | {"head_rank": None},  # it holds the whole matrix
    }


def _exportable(pair: Autoencoder) -> SiteAutoencoder:
    """The only site of what this layout can hold."""
    if len(pair.names) > 1:
        raise NlaeError(f"format=reference holds one site only, not {len(pair.names)} ({', '.join(pair.names[:4])}, …)")
    view, injection = pair.at(), pair.verbalizer.injection
    if injection.mode != "replace" or injection.point != "embedding":
        raise NlaeError(
            f"format=reference holds replacement at the embedding only, not {injection.mode} at {injection.point}; "
            "train with verbalizer.injection.mode=replace verbalizer.injection.point=embedding to export"
        )
    if pair.reconstructor.magnitude:
        raise NlaeError("format=reference has no place for a magnitude head; train with reconstructor.magnitude=false")
    if view.site.kind != "resid":
        raise NlaeError(f"format=reference holds residual activations only, not site={view.site.kind}")
    _check_embeddings(view.target)
    return view


def _check_embeddings(target: Target) -> None:
    """Whoever reads the layout writes into the embedding module's output, which here is not yet the residual stream."""
    if (times := embedding_multiplier(target.model)) != 1:
        raise NlaeError(
            f"format=reference cannot say that target {target.source_name} multiplies its embeddings by {times:g}; "
            "keep the pair in this package's own format"
        )


def _write_verbalizer(view: SiteAutoencoder, folder: Path) -> None:
    model = view.backbone.clean_copy(VERBALIZER)
    with quiet_bars():
        model.save_pretrained(str(folder))


def _write_reconstructor(view: SiteAutoencoder, folder: Path) -> None:
    """Blocks 0 … K without final norm and output head, as the reference reads them."""
    model = view.backbone.clean_copy(RECONSTRUCTOR)
    architecture = view.target.architecture
    n_blocks = view.site.index + 1
    blocks = architecture.blocks(model)
    dropped = {id(p) for block in list(blocks)[n_blocks:] for p in block.parameters()}
    norm = getattr(architecture.decoder(model), architecture.final_norm_name)
    dropped |= {id(p) for p in norm.parameters()} | {id(p) for p in _untied_head(model)}
    state = {name: p.detach().contiguous() for name, p in model.named_parameters() if id(p) not in dropped}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = n_blocks
    if getattr(config, "layer_types", None):
        config.layer_types = list(config.layer_types)[:n_blocks]
    config.save_pretrained(str(folder))
    save_file({"weight": view.reconstructor.head.weight.detach().cpu().contiguous()}, str(folder / HEAD))


def _untied_head(model: Any) -> list[Tensor]:
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return [] if head is None or head.weight is embedding.weight else list(head.parameters())


def _shape(av_meta: Mapping[str, Any], ar_meta: Mapping[str, Any], layer: int) -> tuple[dict[str, Any], Site]:
    try:
        shape = {
            "prompt": _prompt(av_meta, ar_meta),
            "injection": InjectionSettings(scale=float(av_meta["extraction"]["injection_scale"])),
            "max_tokens": int((av_meta.get("reconstructor") or {}).get("max_tokens", MAX_TOKENS)),
        }
        return shape, Site("resid", layer, min_position=int((av_meta.get("site") or {}).get("min_position", 8)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NlaeError(f"the reference sidecars lack or misname {error}; they cannot be used without") from error


def _tensors(av: Path, ar: Path) -> tuple[SiteStatistics | None, Tensor | None, Tensor]:
    """Our statistics and distractors, where we wrote the pair, and the reconstructor's head."""
    try:
        statistics = SiteStatistics.load(av / STATISTICS) if (av / STATISTICS).exists() else None
        return statistics, read_distractors(av / DISTRACTORS).get("unit"), load_file(str(ar / HEAD))["weight"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NlaeError(f"{ar}: tensors cannot be read ({reason}); copy the checkpoint again") from error


def _base(meta: Mapping[str, Any]) -> Any:
    """The model whose activations are explained: ours by description, the reference's by hub id."""
    if meta.get("target"):
        return source_from_description(meta["target"])
    return HubTarget(name=str(meta["base_checkpoint"]), model=str(meta["base_checkpoint"]))


def _prompt(av_meta: Mapping[str, Any], ar_meta: Mapping[str, Any]) -> Prompt:
    """Our prompt if we wrote it; else the reference's templates, whose model opens the tag itself."""
    if av_meta.get("prompt"):
        return Prompt(**av_meta["prompt"])
    templates = {**(ar_meta.get("prompt_templates") or {}), **(av_meta.get("prompt_templates") or {})}
    verbalizer = templates.get("av") or templates.get("actor")
    reconstructor = templates.get("ar") or templates.get("critic")
    if not verbalizer or not reconstructor:
        raise NlaeError("the reference sidecars lack prompt_templates for av and ar; they cannot be used without")
    return Prompt(
        name="reference",
        verbalizer=verbalizer.replace("{injection_char}", "{slot}"),
        reconstructor=reconstructor,
        text="",
        prefill="",
        marker=av_meta["tokens"]["injection_char"],
        max_tokens=150,
    )
