"""Small autoencoders of several sites whose roles, heads and maps have already learned something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nlae.functional.scaling import SiteStatistics, unit
from nlae.model.adapters import AdapterSettings
from nlae.model.autoencoder import Autoencoder
from nlae.model.injection import InjectionSettings
from nlae.model.prompt import Prompt
from nlae.target import Sites, TinyTarget
from nlae.target.trunk import site_width
from pairs import autoencoder

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
def make_autoencoder(site_prompt: Prompt) -> Callable[..., Autoencoder]:
    def make(
        kinds: tuple[str, ...] = ("mlp_in", "mlp_neurons"),
        layers: tuple[int, ...] | None = (0, 2),
        *,
        family: str = "llama",
        adapter: AdapterSettings | None = ADAPTER,
        learned: bool = True,
        injection: InjectionSettings | None = None,
        **settings: Any,
    ) -> Autoencoder:
        source = TinyTarget(family=family, layers=3, width=32, vocabulary=400)
        target = source.load()
        sites = Sites(kinds, layers).resolve(3).sites
        statistics = {}
        for number, site in enumerate(sites):
            width = site_width(target.model, site)
            mean_D = 0.3 * unit(torch.randn(width, generator=torch.Generator().manual_seed(number)))
            statistics[site.name] = SiteStatistics(mean_D, 0.91, 5.0 + number, 4.0 + number, 100)
        made = autoencoder(
            target,
            sites,
            statistics,
            settings.pop("prompt", site_prompt),
            injection=injection,
            verbalizer_adapter=adapter,
            reconstructor_adapter=adapter,
            max_tokens=64,
            **settings,
            meta={"target": source.describe(), "base_checkpoint": source.name, "stage": "warmstart"},
        )
        if learned:
            generator = torch.Generator().manual_seed(2)
            with torch.no_grad():
                for weight in made.trained_state().values():
                    weight += 0.05 * torch.randn(weight.shape, generator=generator)
        return made

    return make
