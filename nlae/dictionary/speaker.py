"""What the dictionary asks of an autoencoder: words for activations, and what words say at two sites of a layer.

`MixtureSpeaker` is the one that runs; the protocol is what the rest of the dictionary knows, so that it can be tried on
a speaker whose words are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from nlae.autoencoder import Autoencoder
    from nlae.mixture import Mixture

NEURONS, INPUT = "mlp_neurons", "mlp_in"


class Speaker(Protocol):
    """Words from activations and back."""

    def write(self, layer: int, activation_BN: Tensor, seeds: list[int], site: str) -> list[str]:
        """One text per raw activation of the layer's neurons (site `NEURONS`) or of their input (`INPUT`)."""
        ...

    def read(self, layer: int, texts: Sequence[str]) -> Tensor:
        """Unit vectors at the input of the layer's MLP that the texts say, float32 (C, d)."""
        ...

    def rebuild(self, layer: int, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Unit directions of the layer's neurons that the texts say, float32 (C, N); norms (C,) where known."""
        ...

    def inject(self, layer: int, activation_BN: Tensor) -> Tensor:
        """What the writer is given of raw activations, before its norm is set, float32 (B, d)."""
        ...


class OneSite:
    """A pair of one site, as a mixture of that one.

    Args:
        pair: trained.
    """

    def __init__(self, pair: Autoencoder) -> None:
        self.pair, self.target, self.sites, self.names = pair, pair.target, (pair.site,), (pair.site.name,)

    def at(self, name: str) -> Autoencoder:
        """The pair."""
        return self.pair

    def readings(self, texts: Sequence[str], names: Sequence[str], *, batch_size: int) -> dict[str, Tensor]:
        """What each text says, by the name of the site."""
        return {name: self.pair.reconstruct(list(texts), batch_size=batch_size) for name in names}


class MixtureSpeaker:
    """A trained mixture, by default of the sites `mlp_neurons` and `mlp_in` of every layer.

    Args:
        mixture: trained.
        layers: blocks of the dictionary.
        temperature: of the verbalizer; 0 is greedy.
        batch_size: texts read at once.
        kinds: of the site that is put into words, and of that at which words are read and scored.

    Raises:
        NlaeError: the mixture lacks a site of one of the layers.
    """

    def __init__(
        self,
        mixture: Mixture | OneSite,
        layers: Sequence[int],
        temperature: float,
        batch_size: int,
        kinds: tuple[str, str] = (NEURONS, INPUT),
    ) -> None:
        wanted = [f"{kind}.{layer}" for layer in layers for kind in dict.fromkeys((kinds[1], kinds[0]))]
        missing = [name for name in wanted if name not in mixture.names]
        if missing:
            raise NlaeError(
                f"this autoencoder has no site {', '.join(missing[:4])}: a dictionary of neurons "
                "needs mlp_in and mlp_neurons of each of its layers (train on site=mixture, or set dictionary.layers), "
                "one of directions their own site"
            )
        self._write, self._read = kinds
        self._kind = dict(zip((NEURONS, INPUT), kinds, strict=True))
        self.mixture, self.temperature, self.batch_size = mixture, temperature, batch_size

    def write(self, layer: int, activation_BN: Tensor, seeds: list[int], site: str) -> list[str]:
        """One text per raw activation of the layer's neurons (site `NEURONS`) or of their input (`INPUT`)."""
        view = self.mixture.at(f"{self._kind[site]}.{layer}")
        return [said.text for said in view.verbalize(activation_BN, seeds=seeds, temperature=self.temperature)]

    def read(self, layer: int, texts: Sequence[str]) -> Tensor:
        """Unit vectors at the input of the layer's MLP that the texts say, float32 (C, d)."""
        name = f"{self._read}.{layer}"
        return self.mixture.readings(texts, [name], batch_size=self.batch_size)[name]

    def rebuild(self, layer: int, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Directions that the texts say at the site that is put into words, and the magnitude head's norms, if any.

        Without such a head `score.readability.raw` fits one scalar, on contexts other than those it is used on.
        """
        name = f"{self._write}.{layer}"
        view = self.mixture.at(name)
        norm_C = view.reconstruct_norm(list(texts), batch_size=self.batch_size)
        return self.mixture.readings(texts, [name], batch_size=self.batch_size)[name], norm_C

    @torch.no_grad()
    def inject(self, layer: int, activation_BN: Tensor) -> Tensor:
        """What the verbalizer is given of raw activations: their down-projection, before its norm is set."""
        return self.mixture.at(f"{self._write}.{layer}").verbalizer.narrowed(activation_BN).float().cpu()
