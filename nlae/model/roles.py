"""Both roles of a mixture: the parts of all sites together, as the objectives want them.

The reconstructor reads a text once for any number of sites: one pass to the deepest of them, each hook read on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nlae.model.backbone import VERBALIZER, Backbone
from nlae.model.reconstructor import Reconstructor
from nlae.model.verbalizer import Verbalizer
from nlae.target import deepest, read_sites

Answer = tuple[Tensor, Tensor | None]


class Verbalizers(nn.Module):
    """The verbalizer at every site: shared weights, prompts and maps of each site's own.

    Args:
        backbone: weights of all roles.
        by_name: the verbalizer of each site.
    """

    def __init__(self, backbone: Backbone, by_name: Mapping[str, Verbalizer]) -> None:
        super().__init__()
        self.backbone, self.by_name = backbone, dict(by_name)
        self.parts = nn.ModuleList(self.by_name.values())

    def freeze_reference(self) -> None:
        """Make role `reference` a frozen copy of all that has been learned, the maps of all sites included."""
        self.backbone.add_reference()
        for part in self.by_name.values():
            part.freeze_maps()

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of the verbalizer alone, in a stable order."""
        own = [parameter for part in self.by_name.values() for parameter in part.own_parameters()]
        return [*self.backbone.parameters_of(VERBALIZER), *own]


class Reconstructors(nn.Module):
    """The reconstructor at every site: one reader of text, heads of each site's own.

    Args:
        backbone: weights of all roles.
        by_name: the reconstructor of each site; all have one template.
    """

    def __init__(self, backbone: Backbone, by_name: Mapping[str, Reconstructor]) -> None:
        super().__init__()
        self.backbone, self.by_name = backbone, dict(by_name)
        self.parts = nn.ModuleList(self.by_name.values())
        self.any = next(iter(self.by_name.values()))

    def forward(self, explanations: list[str], names: Sequence[str] | None = None) -> dict[str, Answer]:
        """What `Reconstructor` returns, for each of the named sites (all by default), from one pass."""
        return self.read(*self.encode(explanations), names)

    def encode(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of the filled-in template, right-padded; both (B, T)."""
        return self.any.encode(explanations)

    def render(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """As `encode`, on the host."""
        return self.any.render(explanations)

    def read(self, ids_BT: Tensor, mask_BT: Tensor, names: Sequence[str] | None = None) -> dict[str, Answer]:
        """As `forward`, for what `encode` returned."""
        readers = {name: self.by_name[name] for name in (self.by_name if names is None else names)}
        sites = [reader.site for reader in readers.values()]
        rows_B, last_B = torch.arange(len(ids_BT), device=ids_BT.device), mask_BT.sum(1) - 1
        with self.backbone.use(self.any.role):
            trunk = self.backbone.trunk(self.any.role, deepest(sites))
            # no mask: rows are padded on the right, where a causal model cannot see
            last = read_sites(trunk, sites, lambda hidden_BTD: hidden_BTD[rows_B, last_B], input_ids=ids_BT)
        return {name: reader.answer(last[reader.site.name]) for name, reader in readers.items()}

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of the reconstructor alone, heads of all sites included, in a stable order."""
        own = [parameter for part in self.by_name.values() for parameter in part.own_parameters()]
        return [*self.backbone.parameters_of(self.any.role), *own]
