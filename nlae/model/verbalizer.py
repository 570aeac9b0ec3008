"""The NL encoder at all sites of an autoencoder: one set of weights, and for each site its prompt, scale and maps.

It is a LightningModule, so that it can be trained alone. What it does at one site is in `site_verbalizer`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
from torch import Tensor, nn

from nlae.errors import NlaeError
from nlae.functional.scaling import SiteStatistics
from nlae.model.adapters import AdapterSettings
from nlae.model.backbone import VERBALIZER, Backbone
from nlae.model.injection import InjectionSettings
from nlae.model.per_site import part_at
from nlae.model.prompt import Prompt
from nlae.model.site_verbalizer import SiteVerbalizer


class Verbalizer(pl.LightningModule):
    """Writes explanations of activations.

    Args:
        backbone: weights and sites; gets this role's weights if it has none.
        prompt: templates and tags; `{site}` is filled in for each site.
        statistics: of each site's training activations, by site name; only their alpha is used.
        adapter: LoRA settings; None trains a full copy of the model.
        injection: how vectors enter; without a scale each site's are injected at its own alpha.

    Raises:
        NlaeError: injection settings that this model cannot have, or neither a scale nor statistics.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        prompt: Prompt,
        statistics: Mapping[str, SiteStatistics] | None = None,
        adapter: AdapterSettings | None = AdapterSettings(),  # noqa: B008  # frozen
        injection: InjectionSettings = InjectionSettings(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__()
        backbone.add(VERBALIZER, adapter)
        self.backbone, self.prompt, self.injection = backbone, prompt, injection
        self.by_name: dict[str, SiteVerbalizer] = {}
        for site in backbone.sites:
            scale = injection.scale
            if scale is None:
                if statistics is None or site.name not in statistics:
                    raise NlaeError(
                        f"there are no activation statistics of {site.name} to take its scale from: set "
                        "verbalizer.injection.scale"
                    )
                scale = statistics[site.name].alpha
            self.by_name[site.name] = SiteVerbalizer(backbone, prompt.at(site.label), injection, scale, site)
        self.parts = nn.ModuleList(self.by_name.values())

    def at(self, name: str | None = None) -> SiteVerbalizer:
        """The verbalizer of one site; without a name that of the only one.

        Raises:
            NlaeError: there is no such site, or there are several and none is named.
        """
        return part_at(self.by_name, name)

    def freeze_reference(self) -> None:
        """Make role `reference` a frozen copy of all that has been learned, the maps of all sites included."""
        self.backbone.add_reference()
        for part in self.by_name.values():
            part.freeze_maps()

    def trained_state(self) -> dict[str, Tensor]:
        """All trained weights, detached: `verbalizer.…` once, `map.<site>.…` for each site."""
        state = {f"{VERBALIZER}.{name}": weight for name, weight in self.backbone.state(VERBALIZER).items()}
        for site, part in self.by_name.items():
            state |= {f"map.{site}.{name}": weight.detach() for name, weight in part.own().items()}
        return state

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of the verbalizer alone, in a stable order."""
        own = [parameter for part in self.by_name.values() for parameter in part.own().values()]
        return [*self.backbone.parameters_of(VERBALIZER), *own]
