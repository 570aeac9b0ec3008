"""Directions to be described like neurons: rows of a matrix, or the features of a sparse autoencoder.

`load` reads a SAELens folder (`cfg.json` and `sae_weights.safetensors`, of the versions before and since 6) or a
safetensors file with `directions` (n, d). A feature's activation is what its encoder says times the norm of its decoder
row, that is the length of what it writes; a bare direction's is the projection of the activation. So nothing changes
when rows are rescaled. Left out: pickled weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from nlae.dictionary.saelens import Encoder, read_saelens, read_tensors, saelens_site
from nlae.errors import NlaeError
from nlae.target.site import Site

if TYPE_CHECKING:
    from nlae.target import Target


@dataclass(frozen=True)
class Directions:
    """Directions at one site.

    Attributes:
        name: of the folder or file.
        site: where they live; None if the file does not say.
        write_nd: the directions, decoder rows of an autoencoder, of norm 1, (n, d).
        encoder: gives the activations; None for bare directions.
    """

    name: str
    site: Site | None
    write_nd: Tensor
    encoder: Encoder | None = None

    def __len__(self) -> int:
        """Number of directions."""
        return int(self.write_nd.shape[0])

    @property
    def signed(self) -> bool:
        """Whether negative activations exist, so that both signs are entries."""
        return self.encoder is None

    def activations(self, input_Md: Tensor) -> Tensor:
        """What each direction says about vectors read at the site, (M, n) float32.

        Args:
            input_Md: raw activations at `site`, (M, d).
        """
        if input_Md.shape[-1] != self.write_nd.shape[1]:
            raise ValueError(f"{self.name}: {input_Md.shape[-1]} entries given, {self.write_nd.shape[1]} expected")
        if self.encoder is not None:
            return self.encoder(input_Md)
        return input_Md.float() @ self.write_nd.T

    @classmethod
    def load(cls, path: Path | str, width: int) -> Directions:
        """Read a SAELens folder or a safetensors file.

        Args:
            path: the folder, or a file with `directions` (n, d) and perhaps the metadata `site`, e.g. `resid.12`.
            width: entries of an activation at the site: d_model, or d_mlp at `mlp_neurons`.

        Raises:
            NlaeError: nothing readable there, an unsupported kind, or another model's width.
        """
        path = Path(path).expanduser()
        found = cls(path.name, *read_saelens(path)) if path.is_dir() else _load_file(path)
        if found.write_nd.ndim != 2 or found.write_nd.shape[1] != width:
            raise NlaeError(
                f"{path}: directions of shape {tuple(found.write_nd.shape)} do not fit activations with {width} "
                "entries; they belong to another model or another kind of site"
            )
        given = [
            found.write_nd,
            *(t for t in (vars(found.encoder) if found.encoder else {}).values() if isinstance(t, Tensor)),
        ]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in given):
            raise NlaeError(f"{path}: some directions are not finite; export them again")
        return found


def named_site(path: Path | str) -> Site | None:
    """Where a folder or file says that its directions live; no weights are read.

    Raises:
        NlaeError: as `Directions.load`.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return saelens_site(path)
    _, metadata = read_tensors(path, ())
    named = metadata.get("site")
    return _own_site(named, path) if named else None


@torch.no_grad()
def read_site(
    target: Target,
    site: Site,
    passages: Sequence[Sequence[int]],
    positions: Sequence[Sequence[int]],
    *,
    batch_tokens: int = 4096,
) -> Tensor:
    """Raw activations at a site, (M, width) float32, in order of passages and then of their positions.

    What a panel of neurons keeps is not enough for directions in the residual stream; this reads the same tokens again.

    Args:
        target: the model.
        site: where to read.
        passages: token ids.
        positions: of each passage, which tokens are wanted.
        batch_tokens: most tokens read at a time, padding included.
    """
    from nlae.target.model import pad_right
    from nlae.target.trunk import Trunk

    trunk = Trunk(target.model, site.resolve(target.n_layers))
    parts: list[Tensor] = [torch.empty(0)] * len(passages)
    order = sorted((row for row in range(len(passages)) if len(positions[row])), key=lambda row: len(passages[row]))
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and len(passages[order[end]]) * (end + 1 - start) <= batch_tokens:
            end += 1
        rows = order[start:end]
        ids_BT, mask_BT = pad_right([passages[row] for row in rows], target.pad_id)
        hidden_BTD = trunk(ids_BT.to(target.device), attention_mask=mask_BT.to(target.device)).float().cpu()
        for place, row in enumerate(rows):
            parts[row] = hidden_BTD[place, torch.as_tensor(list(positions[row]), dtype=torch.long)]
        start = end
    kept = [part for part, wanted in zip(parts, positions, strict=True) if len(wanted)]
    return torch.cat(kept) if kept else torch.empty(0, trunk.width)


def _load_file(path: Path) -> Directions:
    tensors, metadata = read_tensors(path)
    if "directions" not in tensors:
        raise NlaeError(f"{path}: no tensor named 'directions' in it (found {', '.join(sorted(tensors)) or 'none'})")
    named = metadata.get("site")
    rows_nd = F.normalize(tensors["directions"].float(), dim=-1)
    return Directions(path.stem, _own_site(named, path) if named else None, rows_nd)


def _own_site(name: str, path: Path) -> Site:
    kind, _, layer = name.rpartition(".")
    if not re.fullmatch(r"[0-9]{1,6}", layer):
        raise NlaeError(f"{path}: site {name!r} is not of the form resid.12")
    return Site(kind, int(layer))
