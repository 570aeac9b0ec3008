"""What SAELens saved: `cfg.json` and `sae_weights.safetensors`, of its versions before and since 6.

A feature's activation is what its encoder says times the norm of its decoder row, so that it does not depend on how
rows are scaled. Left out, each refused with a line: gated and other architectures whose encoder is not one linear map
and a non-linearity, activations normalised in ways that need numbers the folder does not hold, attention sites, and
pickled weights.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from nlae.errors import NlaeError
from nlae.foreign import read_json
from nlae.target.site import Site

logger = logging.getLogger(__name__)
CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = ("standard", "topk", "jumprelu")
# hook names of TransformerLens: pattern, kind of site, what to add to the layer
_HOOKS = (
    (r"blocks\.([0-9]{1,6})\.hook_resid_post", "resid", 0),
    (r"blocks\.([0-9]{1,6})\.hook_resid_pre", "resid", -1),
    (r"blocks\.([0-9]{1,6})\.hook_mlp_out", "mlp_out", 0),
    (r"blocks\.([0-9]{1,6})\.mlp\.hook_post", "mlp_neurons", 0),
    # and of a model of transformers
    (r"(?:model|transformer|gpt_neox)\.(?:layers|h)\.([0-9]{1,6})", "resid", 0),
    (r"(?:model|transformer|gpt_neox)\.(?:layers|h)\.([0-9]{1,6})\.mlp", "mlp_out", 0),
)


@dataclass(frozen=True)
class Encoder:
    """Pre-activations (x·scale − b_dec)·W_enc + b_enc, then a non-linearity.

    Attributes:
        weight_dn: W_enc, (d, n).
        bias_n: b_enc.
        centre_d: what is taken off the input first; zeros where the autoencoder does not.
        architecture: `standard` (ReLU), `topk` (the k largest, then ReLU) or `jumprelu` (ReLU where above a threshold).
        k: of `topk`.
        threshold_n: of `jumprelu`.
        gain_n: what pre-activations are multiplied by before the non-linearity, or None.
        unit_input: the input is first scaled to norm √d.
        size_n: what activations are multiplied by at last: the norm of what a feature writes at 1, or None.
    """

    weight_dn: Tensor
    bias_n: Tensor
    centre_d: Tensor
    architecture: str = "standard"
    k: int | None = None
    threshold_n: Tensor | None = None
    gain_n: Tensor | None = None
    unit_input: bool = False
    size_n: Tensor | None = None

    def __call__(self, input_Md: Tensor) -> Tensor:
        """Feature activations (M, n), float32, never negative."""
        active_Mn = self._active(input_Md)
        return active_Mn if self.size_n is None else active_Mn * self.size_n

    def _active(self, input_Md: Tensor) -> Tensor:
        input_Md = input_Md.float()
        if self.unit_input:
            input_Md = input_Md * (input_Md.shape[1] ** 0.5 / input_Md.norm(dim=-1, keepdim=True))
        raw_Mn = (input_Md - self.centre_d) @ self.weight_dn + self.bias_n
        if self.gain_n is not None:
            raw_Mn = raw_Mn * self.gain_n
        if self.architecture == "topk":
            assert self.k is not None
            top = raw_Mn.topk(min(self.k, raw_Mn.shape[1]), dim=-1)
            return torch.zeros_like(raw_Mn).scatter(-1, top.indices, top.values.relu())
        if self.architecture == "jumprelu":
            assert self.threshold_n is not None
            return raw_Mn.relu() * (raw_Mn > self.threshold_n)
        return raw_Mn.relu()


def read_saelens(folder: Path) -> tuple[Site, Tensor, Encoder]:
    """Where the features live, their decoder rows of norm 1 (n, d), and their encoder.

    Raises:
        NlaeError: nothing readable there, or an unsupported kind.
    """
    settings = _settings(folder)
    tensors, _ = read_tensors(folder / WEIGHTS)
    missing = [name for name in ("W_enc", "b_enc", "W_dec", "b_dec") if name not in tensors]
    if missing:
        raise NlaeError(f"{folder / WEIGHTS}: no {', '.join(missing)} in it; only autoencoders with these are read")
    given = {name: tensor.float() for name, tensor in tensors.items()}
    if "threshold" not in given and "log_threshold" in given:  # as it is trained
        given["threshold"] = given["log_threshold"].exp()
    if not _fits(given):
        raise NlaeError(f"{folder / WEIGHTS}: encoder and decoder do not have matching shapes; the file is damaged")
    encoder = _encoder(settings, given, folder)
    return _site(settings, folder), F.normalize(given["W_dec"], dim=-1), encoder


def _fits(given: Mapping[str, Tensor]) -> bool:
    """Whether all tensors have the decoder's widths: one of another width may broadcast, to wrong numbers."""
    if given["W_dec"].ndim != 2:
        return False
    n, d = given["W_dec"].shape
    wanted = {"W_enc": (d, n), "b_enc": (n,), "b_dec": (d,)}
    return all(tuple(given[name].shape) == shape for name, shape in wanted.items())


def saelens_site(folder: Path) -> Site:
    """Where the features live; no weights are read.

    Raises:
        NlaeError: as `read_saelens`.
    """
    return _site(_settings(folder), folder)


def _settings(folder: Path) -> dict[str, Any]:
    """`cfg.json` with the names of version 6, whichever version wrote it."""
    path = folder / CONFIG
    try:
        read = read_json(path)
    except (OSError, ValueError) as error:
        raise NlaeError(f"{path}: cannot be read ({type(error).__name__}); give a folder that SAELens saved") from error
    if not isinstance(read, Mapping):
        raise NlaeError(f"{path}: holds no settings; give a folder that SAELens saved")
    settings = {**read, **_part(read, "metadata", path)}
    settings.setdefault("hook_name", settings.get("hook_point"))
    kind = settings.get("activation_fn_str", settings.get("activation_fn", "relu"))
    settings["activation"] = kind
    settings.setdefault("architecture", "standard")
    if kind == "topk":
        if settings["architecture"] == "standard":  # before version 6 a non-linearity, and no architecture
            settings["architecture"] = "topk"
        settings.setdefault("k", _part(settings, "activation_fn_kwargs", path).get("k"))
    return settings


def _part(settings: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    """Settings within the settings; none where nothing is given.

    Raises:
        NlaeError: something else stands there.
    """
    found = settings.get(name) or {}
    if not isinstance(found, Mapping):
        raise NlaeError(f"{path}: {name} holds no settings; give a folder that SAELens saved")
    return found


def _encoder(settings: Mapping[str, Any], given: Mapping[str, Tensor], folder: Path) -> Encoder:
    architecture = str(settings["architecture"])
    where = folder / CONFIG
    known = ("relu", "topk") if architecture == "topk" else ("relu",)
    if architecture not in ARCHITECTURES or settings["activation"] not in known:
        raise NlaeError(
            f"{where}: architecture {architecture!r} with {settings['activation']!r} is not read; "
            f"only {', '.join(ARCHITECTURES)} are"
        )
    normalised = settings.get("normalize_activations") or "none"
    if normalised not in ("none", "constant_norm_rescale"):
        raise NlaeError(f"{where}: normalize_activations={normalised} is not read; fold it into the weights first")
    if settings.get("reshape_activations", "none") != "none":
        raise NlaeError(f"{where}: reshape_activations={settings['reshape_activations']} is not read")
    k = settings.get("k")
    if architecture == "topk" and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
        raise NlaeError(f"{where}: a topk autoencoder without k, or k={k} is no count")
    threshold_n = given.get("threshold")
    if architecture == "jumprelu" and (threshold_n is None or threshold_n.shape != given["b_enc"].shape):
        raise NlaeError(
            f"{folder / WEIGHTS}: a jumprelu autoencoder without its threshold, one number for each feature"
        )
    rescaled = bool(settings.get("rescale_acts_by_decoder_norm"))
    if rescaled and architecture != "topk":
        raise NlaeError(f"{where}: rescale_acts_by_decoder_norm with {architecture} is not read; only with topk")
    norm_n = given["W_dec"].norm(dim=-1)
    size_n = torch.ones_like(norm_n) if rescaled else norm_n  # rescaled activations hold it already
    if settings.get("finetuning_scaling_factor") and "scaling_factor" in given:
        if given["scaling_factor"].shape != norm_n.shape:
            raise NlaeError(f"{folder / WEIGHTS}: scaling_factor is not a number for each feature; the file is damaged")
        size_n = size_n * given["scaling_factor"]
    # before version 6 a missing key meant yes, and so it does since
    centred = bool(settings.get("apply_b_dec_to_input", True))
    return Encoder(
        given["W_enc"],
        given["b_enc"],
        given["b_dec"] if centred else torch.zeros_like(given["b_dec"]),
        architecture,
        k=k if architecture == "topk" else None,
        threshold_n=threshold_n if architecture == "jumprelu" else None,
        gain_n=norm_n if rescaled else None,
        unit_input=normalised == "constant_norm_rescale",
        size_n=size_n,
    )


def _site(settings: Mapping[str, Any], folder: Path) -> Site:
    """The site that a hook name stands for.

    Raises:
        NlaeError: a hook that no site of ours reads.
    """
    hook = str(settings.get("hook_name"))
    if settings.get("hook_head_index") is not None:
        raise NlaeError(f"{folder / CONFIG}: it reads a single attention head, which no site does")
    for pattern, kind, shift in _HOOKS:
        match = re.fullmatch(pattern, hook)
        if match and int(match[1]) + shift >= 0:
            if _part(settings, "model_from_pretrained_kwargs", folder / CONFIG).get("center_writing_weights"):
                logger.warning("%s: trained on a model with centred weights; its activations differ here", folder)
            return Site(kind, int(match[1]) + shift)
    known = ", ".join(pattern.replace("\\", "").replace("([0-9]{1,6})", "N") for pattern, _, _ in _HOOKS)
    raise NlaeError(f"{folder / CONFIG}: hook_name={hook!r} is no site that is read here; known: {known}")


def read_tensors(path: Path, names: Sequence[str] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a safetensors file, all of them unless named, and its metadata.

    Raises:
        NlaeError: it cannot be read.
    """
    try:
        with safe_open(str(path), framework="pt") as handle:
            opened: Callable[[str], Tensor] = handle.get_tensor
            wanted = list(handle.keys()) if names is None else names
            return {name: opened(name) for name in wanted}, dict(handle.metadata() or {})
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise NlaeError(f"{path}: cannot be read ({reason}); give a SAELens folder or a safetensors file") from error
