"""Held-out rows, and what the halves say about them: the curves of every fit. The test split never enters here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nlae.functional.reconstruction import fve, spread, squared_error
from nlae.functional.scaling import unit

if TYPE_CHECKING:
    from nlae.model.site_autoencoder import SiteAutoencoder
    from nlae.model.site_reconstructor import SiteReconstructor
    from nlae.model.site_verbalizer import SiteVerbalizer


@dataclasses.dataclass(frozen=True)
class ValidationSet:
    """Held-out rows that curves are drawn on.

    Attributes:
        activation_ND: raw activations.
        explanation: the teacher's text, or None where there is none.
        other_N: for each row, the index of a row of another document (the shuffled pairing).
        row_N: row numbers, which seed the samples.
        context_ids: tokens up to and including each row's position, as far as the store keeps them.
        rivals: raw training activations (9, D) that share a row's last token, by row; only rows that have as many.
    """

    activation_ND: Tensor
    explanation: list[str] | None
    other_N: Tensor
    row_N: list[int]
    context_ids: list[list[int]] = dataclasses.field(default_factory=list)
    rivals: Mapping[int, Tensor] = dataclasses.field(default_factory=dict)


Also = Callable[["SiteAutoencoder", ValidationSet, list[str], Tensor, int], dict[str, float]]
"""Further figures of the explanations and what was rebuilt from them; with the seed of the fit."""


def of_verbalizer(verbalizer: SiteVerbalizer, held: ValidationSet) -> dict[str, float]:
    """Cost of the teacher's text in nats per token, and by how much it is dearer under a shuffled pairing."""
    if held.explanation is None:
        return {}
    nll = verbalizer.nll(held.activation_ND, held.explanation)
    shuffled = verbalizer.nll(held.activation_ND[held.other_N], held.explanation)
    return {"val/nll": float(nll), "val/nll_gap": float(shuffled - nll)}


def of_reconstructor(reconstructor: SiteReconstructor, held: ValidationSet) -> dict[str, float]:
    """FVE of what is rebuilt from the teacher's text."""
    if held.explanation is None:
        return {}
    true_ND = unit(held.activation_ND)
    spread_N = spread(true_ND, reconstructor.statistics.mean_D)
    rebuilt_ND = reconstructor.rebuild(held.explanation)[0]
    return {"val/fve_teacher": float(fve(squared_error(rebuilt_ND, true_ND), spread_N))}


def of_round_trip(view: SiteAutoencoder, held: ValidationSet, seed: int, also: Also | None = None) -> dict[str, float]:
    """The round trip at temperature 1, its shuffled pairing, what `also` finds, both halves on the teacher's text."""
    true_ND = unit(held.activation_ND)
    spread_N = spread(true_ND, view.statistics.mean_D)
    written = view.verbalize(held.activation_ND, seeds=view.row_seeds(seed, "validate", held.row_N))
    rebuilt_ND = view.reconstruct([e.text for e in written])
    metrics = {
        "val/fve": float(fve(squared_error(rebuilt_ND, true_ND), spread_N)),
        "val/fve_shuffled": float(fve(squared_error(rebuilt_ND[held.other_N], true_ND), spread_N)),
        "val/closed_rate": sum(e.closed for e in written) / len(written),
        "val/tokens": sum(e.n_tokens for e in written) / len(written),
    }
    if also is not None:
        metrics |= also(view, held, [e.text for e in written], rebuilt_ND, seed)
    return metrics | of_reconstructor(view.reconstructor, held) | of_verbalizer(view.verbalizer, held)


def mean_over_sites(by_site: Mapping[str, Mapping[str, float]], headline: str) -> dict[str, float]:
    """Each figure's mean over the sites that have it, and of several sites `headline` itself for each."""
    keys = dict.fromkeys(key for figures in by_site.values() for key in figures)
    found = {key: float(np.mean([figures[key] for figures in by_site.values() if key in figures])) for key in keys}
    each = {site: figures for site, figures in by_site.items() if len(by_site) > 1 and headline in figures}
    return found | {f"{headline}/{site}": figures[headline] for site, figures in each.items()}


@torch.no_grad()
def validate(
    at: Callable[[str], SiteAutoencoder], held: Mapping[str, ValidationSet], seed: int, also: Also | None = None
) -> dict[str, float]:
    """`of_round_trip` of every held-out site's view, their means, and `val/fve/<site>` where there are several."""
    by_site = {site: of_round_trip(at(site), rows, seed, also) for site, rows in held.items()}
    return mean_over_sites(by_site, "val/fve")
