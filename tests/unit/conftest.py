"""Small pairs of every family whose adapters have already learned *something*, so that roles differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch

from nlae.functional.scaling import SiteStatistics, unit
from nlae.model.adapters import AdapterSettings
from nlae.model.autoencoder import Autoencoder
from nlae.model.injection import InjectionSettings
from nlae.model.prompt import Prompt
from nlae.target import HubTarget, Site, TinyTarget
from nlae.target.trunk import site_width
from pairs import autoencoder

MakePair = Callable[..., Autoencoder]
Gradients = Callable[[Autoencoder], list[torch.Tensor]]
WIDTH = 32


@pytest.fixture(scope="session")
def prompt() -> Prompt:
    return Prompt(
        name="test",
        verbalizer="What does this say about the text? <concept>{slot}</concept> Be short.",
        reconstructor="Text: {explanation}\nMeaning:",
        text="",
        max_tokens=10,
    )


@pytest.fixture(scope="session")
def make_pair(prompt: Prompt) -> MakePair:
    """A pair on a tiny random model, or on that of `source`; `learned` moves every adapter away from its start."""

    def make(
        family: str = "llama",
        *,
        dtype: str = "float32",
        layers: int = 3,
        layer: int = 1,
        kind: str = "resid",
        adapter: AdapterSettings | None = AdapterSettings(4, 8.0),  # noqa: B008
        mode: str = "replace",
        point: str | int = "embedding",
        map: str = "down_projection",
        learned: bool = True,
        source: HubTarget | None = None,
        **settings: Any,
    ) -> Autoencoder:
        source = source or TinyTarget(family=family, layers=layers, width=WIDTH, vocabulary=400)
        target = source.load(dtype="bfloat16" if settings.get("precision") == "bf16-base" else dtype)
        site = Site(kind=kind, layer=layer).resolve(layers)
        pair = autoencoder(
            target,
            site,
            statistics(site_width(target.model, site)),
            settings.pop("prompt", prompt),
            injection=InjectionSettings(mode=mode, point=point, map=map),
            verbalizer_adapter=adapter,
            reconstructor_adapter=adapter,
            max_tokens=64,
            **settings,
            meta={"target": source.describe(), "base_checkpoint": source.name, "stage": "warmstart"},
        )
        if learned:
            shake(pair)
        if dtype == "float64":
            pair.backbone.double()
        return pair

    return make


@lru_cache
def statistics(width: int) -> SiteStatistics:
    mean_D = 0.3 * unit(torch.randn(width, generator=torch.Generator().manual_seed(1)))
    return SiteStatistics(mean_D=mean_D, variance=0.91, alpha=6.0, norm_median=5.0, count=100)


def shake(pair: Autoencoder) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in pair.trained_state().values():
            weight += 0.05 * torch.randn(weight.shape, generator=generator).to(weight)


@pytest.fixture(scope="session")
def activations() -> torch.Tensor:
    return 5 * torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def gradients() -> Gradients:
    """Takes the gradients of both roles off a pair, zeros where there are none."""

    def take(pair: Autoencoder) -> list[torch.Tensor]:
        parameters = [*pair.verbalizer.trainable(), *pair.reconstructor.trainable()]
        found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        return found

    return take
