"""Directions to be described like neurons: rows of a matrix, or the features of a sparse autoencoder.

A folder that SAELens saved (`cfg.json`, `sae_weights.safetensors`) is read by SAELens itself, from the extra `sae`. A
feature's activation is what its encoder says times the norm of its decoder row, that is the length of what it writes; a
bare direction's is the projection of the activation. So nothing changes when rows are rescaled. Left out: the hub,
pickled weights, transcoders, and activations normalised by numbers that the folder lacks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from nlae.errors import NlaeError
from nlae.files.foreign import read_json
from nlae.target.site import Site

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = ("standard", "topk", "jumprelu", "gated")
NORMALISED = ("none", "constant_norm_rescale", "layer_norm")
# hook names of TransformerLens and of transformers: pattern, kind of site, what to add to the layer
_HOOKS = (
    (r"blocks\.([0-9]{1,6})\.hook_resid_post", "resid", 0),
    (r"blocks\.([0-9]{1,6})\.hook_resid_pre", "resid", -1),
    (r"blocks\.([0-9]{1,6})\.hook_mlp_out", "mlp_out", 0),
    (r"blocks\.([0-9]{1,6})\.mlp\.hook_post", "mlp_neurons", 0),
    (r"(?:model|transformer|gpt_neox)\.(?:layers|h)\.([0-9]{1,6})", "resid", 0),
    (r"(?:model|transformer|gpt_neox)\.(?:layers|h)\.([0-9]{1,6})\.mlp", "mlp_out", 0),
)


@dataclass(frozen=True)
class Directions:
    """Directions at one site.

    Attributes:
        site: where they live.
        write_nd: the directions, decoder rows of an autoencoder, of norm 1, float32 (n, d).
        size_n: what the encoder's output is multiplied by; None for bare directions.
        autoencoder: of SAELens; None for bare directions.
    """

    site: Site
    write_nd: Tensor
    size_n: Tensor | None = None
    autoencoder: Any = None

    def __len__(self) -> int:
        """Number of directions."""
        return int(self.write_nd.shape[0])

    @property
    def signed(self) -> bool:
        """Whether negative activations exist, so that both signs are entries."""
        return self.autoencoder is None

    @torch.no_grad()
    def activations(self, input_Md: Tensor) -> Tensor:
        """What each direction says about raw vectors read at the site, (M, n) float32."""
        if self.size_n is None:
            return input_Md.float() @ self.write_nd.T
        encoded_Mn: Tensor = self.autoencoder.encode(input_Md.float())
        return encoded_Mn * self.size_n

    @classmethod
    def load(cls, path: Path | str, width: int) -> Self:
        """Read a SAELens folder, or a safetensors file with `directions` (n, d) and the metadata `site`.

        Args:
            path: the folder or file.
            width: entries of an activation at the site: d_model, or d_mlp at `mlp_neurons`.

        Raises:
            NlaeError: nothing readable there, an unsupported kind, another model's width, or no `sae_lens`.
        """
        path = Path(path).expanduser()
        site = named_site(path)
        write_nd, size_n, sae = _autoencoder(path) if path.is_dir() else (_bare(path), None, None)
        if write_nd.ndim != 2 or write_nd.shape[1] != width:
            raise NlaeError(
                f"{path}: directions of shape {tuple(write_nd.shape)} do not fit activations with {width} entries; "
                "they belong to another model or another kind of site"
            )
        given = [write_nd, *(sae.parameters() if sae is not None else ())]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in given):
            raise NlaeError(f"{path}: some directions are not finite; export them again")
        return cls(site, F.normalize(write_nd, dim=-1), size_n, sae)


def named_site(path: Path | str) -> Site:
    """Where a folder or file says that its directions live; no weights are read, and `sae_lens` is not needed.

    Raises:
        NlaeError: nothing readable there, or it names no site that is read here.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        settings = _settings(path)
        hook = str(settings.get("hook_name") or settings.get("hook_point"))
        for pattern, kind, shift in _HOOKS:
            match = re.fullmatch(pattern, hook)
            if match and int(match[1]) + shift >= 0:
                return Site(kind, int(match[1]) + shift)
        known = ", ".join(pattern.replace("\\", "").replace("([0-9]{1,6})", "N") for pattern, _, _ in _HOOKS)
        raise NlaeError(f"{path / CONFIG}: hook_name={hook!r} is no site that is read here; known: {known}")
    metadata: Mapping[str, str] = _open(path).metadata() or {}
    named = re.fullmatch(r"(.+)\.([0-9]{1,6})", metadata.get("site", ""))
    if named is None:
        raise NlaeError(f"{path} does not name its site: give it the metadata site, as resid.12")
    return Site(named[1], int(named[2]))


def _bare(path: Path) -> Tensor:
    file = _open(path)
    names = sorted(file.keys())
    if "directions" not in names:
        raise NlaeError(f"{path}: no tensor named 'directions' in it (found {', '.join(names) or 'none'})")
    rows_nd: Tensor = file.get_tensor("directions").float()
    return rows_nd


def _open(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="pt")
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise NlaeError(f"{path}: cannot be read ({reason}); give a SAELens folder or a safetensors file") from error


def _autoencoder(folder: Path) -> tuple[Tensor, Tensor, Any]:
    """Decoder rows, what its activations are multiplied by, and the autoencoder itself."""
    if not (folder / WEIGHTS).is_file():
        raise NlaeError(f"{folder / WEIGHTS} is missing; only safetensors are read: save it again with save_model")
    try:
        from sae_lens import SAE
    except ImportError as error:
        raise NlaeError(f"{folder}: {error}; SAELens folders need the extra sae: pip install 'nlae[sae]'") from error
    try:
        sae: Any = SAE.load_from_disk(folder, device="cpu", dtype="float32")
    except Exception as error:  # whatever is wrong with the folder
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise NlaeError(f"{folder}: SAELens cannot read it ({reason}); save it again") from error
    architecture, normalised, k = sae.cfg.architecture(), sae.cfg.normalize_activations, _settings(folder).get("k")
    if architecture not in ARCHITECTURES:
        raise NlaeError(f"{folder}: architecture {architecture!r} is not read; only {', '.join(ARCHITECTURES)} are")
    if normalised not in NORMALISED:
        raise NlaeError(f"{folder}: normalize_activations={normalised} is not read; fold it into the weights")
    if architecture == "topk" and (type(k) is not int or k < 1):  # SAELens would take 100 for want of it
        raise NlaeError(f"{folder}: a topk autoencoder whose k is {k}; save it again with its count")
    write_nd: Tensor = sae.W_dec.detach().float()
    # one that rescales its activations says the length already
    rescaled = getattr(sae.cfg, "rescale_acts_by_decoder_norm", False)
    return write_nd, torch.ones(len(write_nd)) if rescaled else write_nd.norm(dim=-1), sae


def _settings(folder: Path) -> dict[str, Any]:
    """`cfg.json`, its parts among the rest, since versions differ in what they put into which."""
    path = folder / CONFIG
    try:
        settings = read_json(path)
        return {**settings, **(settings.get("metadata") or {}), **(settings.get("activation_fn_kwargs") or {})}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise NlaeError(f"{path}: cannot be read ({type(error).__name__}); give a folder that SAELens saved") from error
