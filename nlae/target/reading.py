"""Activations of one or several sites at chosen positions, from one pass over a batch of texts.

Which texts share a batch is the caller's business; so is what becomes of the rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from nlae.target.mixture import deepest
from nlae.target.model import Target
from nlae.target.site import Site
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
        longest = max(len(text) for text in ids)
        ids_BT = torch.full((len(ids), longest), self._target.pad_id, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for index, text in enumerate(ids):
            ids_BT[index, : len(text)] = torch.tensor(text)
            mask_BT[index, : len(text)] = 1
        device = self._target.device
        text_N, position_N = torch.tensor(places, device=device).T
        read = read_sites(
            self._trunk,
            self._hooks,
            lambda hidden_BTD: hidden_BTD[text_N, position_N].float(),
            input_ids=ids_BT.to(device),
            attention_mask=mask_BT.to(device),
        )
        norms = {name: read[name].norm(dim=-1).cpu() for name in set(self._norm_of)}
        return [(read[site.name].cpu(), norms[name]) for site, name in zip(self._sites, self._norm_of, strict=True)]


class Reader(SitesReader):
    """A reader of one site."""

    def __init__(self, target: Target, site: Site) -> None:
        super().__init__(target, [site])
        self.width = self.widths[0]

    def read_one(self, ids: Sequence[Sequence[int]], places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """As `read`, at the one site."""
        return self.read(ids, places)[0]
