"""Autoencoders that tests build, and what they ask of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nlae.functional.scaling import SiteStatistics, unit
from nlae.model import Autoencoder, Reconstructor, Verbalizer
from nlae.model.adapters import AdapterSettings
from nlae.model.backbone import Backbone
from nlae.model.injection import InjectionSettings
from nlae.target import Site, Target

TEXTS = ["a red cat", "the dog"]
N = 2  # responses per activation
LORA = AdapterSettings()


def autoencoder(
    target: Target,
    sites: Site | Sequence[Site],
    statistics: SiteStatistics | Mapping[str, SiteStatistics] | None,
    prompt: Any,
    *,
    injection: InjectionSettings | None = None,
    verbalizer_adapter: AdapterSettings | None = LORA,
    reconstructor_adapter: AdapterSettings | None = LORA,
    precision: str = "fp32",
    seed: int = 0,
    meta: dict[str, Any] | None = None,
    engine: Any = None,
    **reconstructor: Any,
) -> Autoencoder:
    """Both roles on one backbone, at one site or several, before anything was learned."""
    sites = sites.sites if isinstance(sites, Site) else sites
    known = {sites[0].name: statistics} if isinstance(statistics, SiteStatistics) else statistics
    shared: dict[str, Any] = {
        "backbone": Backbone(target, sites, precision=precision, seed=seed),
        "prompt": prompt,
        "statistics": known,
    }
    return Autoencoder(
        Verbalizer(adapter=verbalizer_adapter, injection=injection or InjectionSettings(), **shared),
        Reconstructor(adapter=reconstructor_adapter, **reconstructor, **shared),
        meta=meta,
        engine=engine,
    )


def losses(pair: Autoencoder, activation_BD: Tensor) -> tuple[Tensor, Tensor]:
    """What `TEXTS` cost the verbalizer and the reconstructor, of the first two activations."""
    token_BT, mask_BT = pair.at().verbalizer.encode_responses(TEXTS)
    written = -(pair.at().verbalizer.logprobs(activation_BD[:2], token_BT) * mask_BT).sum()
    return written, (pair.at().reconstructor(TEXTS)[0] - unit(activation_BD[:2])).pow(2).sum()


def responses(pair: Autoencoder, groups: int, length: int = 12) -> Tensor:
    """Random ids, `N` rows for each of `groups` activations."""
    generator = torch.Generator().manual_seed(5)
    return torch.randint(4, len(pair.target.tokenizer), (groups * N, length), generator=generator)
