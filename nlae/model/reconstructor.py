"""The NL decoder at all sites of an autoencoder: one reader of text, and for each site its heads.

A text is read once for any number of sites: one pass to the deepest of them, each hook read on the way. It is a
LightningModule, so that it can be trained alone. What it does at one site is in `site_reconstructor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from nlae.errors import NlaeError
from nlae.functional.scaling import SiteStatistics
from nlae.model.adapters import AdapterSettings
from nlae.model.backbone import RECONSTRUCTOR, Backbone
from nlae.model.per_site import part_at
from nlae.model.prompt import Prompt
from nlae.model.site_reconstructor import Answer, Progress, SiteReconstructor, by_length
from nlae.target import deepest, read_sites


class Reconstructor(pl.LightningModule):
    """Rebuilds activations from words.

    Args:
        backbone: weights and sites; gets this role's weights if it has none.
        prompt: the reconstructor's template.
        statistics: of each site's training activations, by site name; a site without any has no FVE.
        adapter: LoRA settings; None trains a full copy of the trunk.
        magnitude: add a head for log ‖h‖ at each site.
        max_tokens: explanations are cut so that template and text fit.
        head_rank: each site's head is the identity plus a map of this rank; None learns a whole matrix.

    Raises:
        NlaeError: several sites and a template that names the site, or a rank that no head of a site has.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        prompt: Prompt,
        statistics: Mapping[str, SiteStatistics] | None = None,
        adapter: AdapterSettings | None = AdapterSettings(),  # noqa: B008  # frozen
        magnitude: bool = False,
        max_tokens: int = 160,
        head_rank: int | None = None,
    ) -> None:
        super().__init__()
        if len(backbone.sites) > 1 and "{site}" in prompt.reconstructor:
            raise NlaeError("prompt.reconstructor names {site}, but a text is read once for all sites: drop it")
        backbone.add(RECONSTRUCTOR, adapter)
        self.backbone, self.prompt = backbone, prompt
        self.magnitude, self.max_tokens, self.head_rank = magnitude, max_tokens, head_rank
        self.by_name = {
            site.name: SiteReconstructor(
                backbone,
                prompt.at(site.label),
                site=site,
                statistics=(statistics or {}).get(site.name),
                max_tokens=max_tokens,
                magnitude=magnitude,
                head_rank=head_rank,
            )
            for site in backbone.sites
        }
        self.parts = nn.ModuleList(self.by_name.values())
        self._any = next(iter(self.by_name.values()))  # all have one template

    def at(self, name: str | None = None) -> SiteReconstructor:
        """The reconstructor of one site; without a name that of the only one.

        Raises:
            NlaeError: there is no such site, or there are several and none is named.
        """
        return part_at(self.by_name, name)

    def forward(self, explanations: list[str], names: Sequence[str] | None = None) -> dict[str, Answer]:
        """What `SiteReconstructor` returns, for each of the named sites (all by default), from one pass."""
        return self.read(*self.encode(explanations), names)

    def encode(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of the filled-in template, right-padded; both (B, T)."""
        return self._any.encode(explanations)

    def render(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """As `encode`, on the host."""
        return self._any.render(explanations)

    def read(self, ids_BT: Tensor, mask_BT: Tensor, names: Sequence[str] | None = None) -> dict[str, Answer]:
        """As `forward`, for what `encode` returned."""
        readers = [self.at(name) for name in (self.by_name if names is None else names)]
        sites = [reader.site for reader in readers]
        rows_B, last_B = torch.arange(len(ids_BT), device=ids_BT.device), mask_BT.sum(1) - 1
        with self.backbone.use(RECONSTRUCTOR):
            trunk = self.backbone.trunk(RECONSTRUCTOR, deepest(sites))
            # no mask: rows are padded on the right, where a causal model cannot see
            last = read_sites(trunk, sites, lambda hidden_BTD: hidden_BTD[rows_B, last_B], input_ids=ids_BT)
        return {reader.site.name: reader.answer(last[reader.site.name]) for reader in readers}

    @torch.no_grad()
    def readings(
        self,
        texts: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """What each text says at several sites: `at(name).rebuild(texts)[0]` for all names, from one pass a batch.

        Args:
            texts: explanations; an empty one gives each site's μ/‖μ‖.
            names: sites; None takes all.
            batch_size: texts per pass; texts of like length share one.
            progress: called with the number of texts just read.

        Returns:
            Unit vectors float32 [n, width] on the CPU, by site name.
        """
        names = list(self.by_name if names is None else names)
        found = {name: torch.empty(len(texts), self.at(name).width) for name in names}
        empty, batches = by_length(texts, batch_size)
        for name in names:
            found[name][empty] = self.at(name).statistics.constant_D.cpu()
        for rows in batches:
            for name, (unit_BD, _) in self([texts[i] for i in rows], names).items():
                found[name][rows] = unit_BD.float().cpu()
            if progress is not None:
                progress(len(rows))
        return found

    def trained_state(self) -> dict[str, Tensor]:
        """All trained weights, detached: `reconstructor.…` once, `head.<site>.…` for each site."""
        state = {f"{RECONSTRUCTOR}.{name}": weight for name, weight in self.backbone.state(RECONSTRUCTOR).items()}
        for site, part in self.by_name.items():
            state |= {f"head.{site}.{name}": weight.detach() for name, weight in part.own().items()}
        return state

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of the reconstructor alone, heads of all sites included, in a stable order."""
        own = [parameter for part in self.by_name.values() for parameter in part.own().values()]
        return [*self.backbone.parameters_of(RECONSTRUCTOR), *own]
