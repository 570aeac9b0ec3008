"""Activations of one or several sites at chosen positions, from one pass over a batch of texts.

Which texts share a batch is the caller's business; so is what becomes of the rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.target.model import Target
from nlae.target.site import Site, deepest
from nlae.target.trunk import Trunk, read_sites, site_width


class SitesReader:
    """The trunk, with the residual norm of each site's block beside the site's own vectors.

    Attributes:
        widths: numbers per activation, site by site.
    """

    def __init__(self, target: Target, sites: Sequence[Site]) -> None:
        self._target, self._sites = target, tuple(sites)
        self._trunk = Trunk(target.model, deepest(sites))
        self.widths = [site_width(target.model, site) for site in sites]
        norms = {site.index: dataclasses.replace(site, kind="resid") for site in sites}
        self._norm_of = [norms[site.index].name for site in sites]
        self._hooks = list(dict.fromkeys([*self._sites, *norms.values()]))

    @torch.no_grad()
    def read(self, ids: Sequence[Sequence[int]], places: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
        """At each site, activations and residual norms at (index of the text, position): [n, width] and [n], float32.

        Both are on the CPU.
        """
        return self.read_padded(self.pad(ids), torch.tensor(places))

    def pad(self, ids: Sequence[Sequence[int] | npt.NDArray[np.int64]]) -> Tensor:
        """Texts padded on the right, int64 (B, T) on the CPU; pinned where a GPU will copy them."""
        ids_BT = torch.full((len(ids), max(len(text) for text in ids)), self._target.pad_id, dtype=torch.long)
        for index, text in enumerate(ids):
            ids_BT[index, : len(text)] = torch.as_tensor(text)
        return ids_BT.pin_memory() if self._target.device.type == "cuda" else ids_BT

    @torch.no_grad()
    def read_padded(self, ids_BT: Tensor, places_N2: Tensor) -> list[tuple[Tensor, Tensor]]:
        """As `read`, for what `pad` returned: no mask, since a causal model cannot see padding on the right."""
        device = self._target.device
        text_N, position_N = places_N2.to(device, non_blocking=True).T
        read = read_sites(
            self._trunk,
            self._hooks,
            # gathered on the device: of a text of a hundred tokens a few are wanted
            lambda hidden_BTD: hidden_BTD[text_N, position_N].float(),
            input_ids=ids_BT.to(device, non_blocking=True),
        )
        norms = {name: read[name].norm(dim=-1).cpu() for name in set(self._norm_of)}
        return [(read[site.name].cpu(), norms[name]) for site, name in zip(self._sites, self._norm_of, strict=True)]
