"""Small mixtures whose roles, heads and maps have already learned something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nlae.functional.scaling import SiteStatistics, unit
from nlae.model.autoencoder import PairSettings
from nlae.model.backbone import AdapterSettings
from nlae.model.mixture import Mixture
from nlae.model.prompt import Prompt
from nlae.model.verbalizer import InjectionSettings
from nlae.target import SiteMixture, TinyTarget
from nlae.target.trunk import site_width

ADAPTER = AdapterSettings(4, 8.0)


@pytest.fixture(scope="session")
def site_prompt() -> Prompt:
    return Prompt(
        name="test",
        verbalizer="What does this ({site}) say about the text? <concept>{slot}</concept> Be short.",
        reconstructor="Text: {explanation}\nMeaning:",
        text="",
        max_tokens=10,
    )


@pytest.fixture(scope="session")
def make_mixture(site_prompt: Prompt) -> Callable[..., Mixture]:
    def make(
        kinds: tuple[str, ...] = ("mlp_in", "mlp_neurons"),
        layers: tuple[int, ...] | None = (0, 2),
        *,
        family: str = "llama",
        adapter: AdapterSettings | None = ADAPTER,
        learned: bool = True,
        injection: InjectionSettings | None = None,
        **settings: Any,
    ) -> Mixture:
        source = TinyTarget(family=family, layers=3, width=32, vocabulary=400)
        target = source.load()
        sites = SiteMixture(kinds, layers).resolve(3).sites
        statistics = {}
        for number, site in enumerate(sites):
            width = site_width(target.model, site)
            mean_D = 0.3 * unit(torch.randn(width, generator=torch.Generator().manual_seed(number)))
            statistics[site.name] = SiteStatistics(mean_D, 0.91, 5.0 + number, 4.0 + number, 100)
        mixture = Mixture(
            target,
            sites,
            statistics,
            PairSettings(
                prompt=settings.pop("prompt", site_prompt),
                injection=injection or InjectionSettings(),
                verbalizer_adapter=adapter,
                reconstructor_adapter=adapter,
                max_tokens=64,
                **settings,
            ),
            meta={"target": source.describe(), "base_checkpoint": source.name, "stage": "warmstart"},
        )
        if learned:
            generator = torch.Generator().manual_seed(2)
            with torch.no_grad():
                for weight in mixture.trained_state().values():
                    weight += 0.05 * torch.randn(weight.shape, generator=generator)
        return mixture

    return make
