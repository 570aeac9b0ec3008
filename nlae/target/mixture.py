"""Several sites read and trained together: kinds of hooks times layers.

No torch here, as in `site`: what a config names is checked and counted before any model is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nlae.errors import NlaeError
from nlae.target.site import KINDS, Site


@dataclass(frozen=True)
class SiteMixture:
    """Sites that share one autoencoder.

    Attributes:
        kinds: Kinds of sites, as in `Site`.
        layers: Block indices, counted from 0; with neither these nor `depths`, all of them.
        depths: Instead of `layers`, fractions: 0 is the first block, 1 the last.
        min_position: As in `Site`, for all of them.
    """

    kinds: Sequence[str] = ("mlp_in", "mlp_neurons")
    layers: Sequence[int] | None = None
    depths: Sequence[float] | None = None
    min_position: int = 8

    def __post_init__(self) -> None:
        """Refuse mixtures that no model could have."""
        for name in ("kinds", "layers", "depths"):
            value = getattr(self, name)
            if isinstance(value, str | int | float):
                raise NlaeError(f"site.{name}={value} must be a list, e.g. site.{name}=[{value}]")
            # a list from a config becomes a tuple, so that mixtures stay hashable
            object.__setattr__(self, name, value if value is None else tuple(value))
            if value is not None and (not value or len(set(value)) < len(value)):
                raise NlaeError(f"site.{name}={list(value)}: name at least one, and each once")
        if self.layers is not None and self.depths is not None:
            raise NlaeError("site.layers and site.depths are both set; give one of them")
        for kind in self.kinds:
            if kind not in KINDS:
                raise NlaeError(f"site.kinds holds {kind}: unknown; choose from {', '.join(KINDS)}")
        for depth in self.depths or ():
            Site(depth=depth)
        for layer in self.layers or ():
            Site(layer=layer, min_position=self.min_position)

    def resolve(self, n_layers: int) -> "SiteMixture":
        """The same mixture with explicit layers in ascending order, so that equal mixtures compare equal.

        Raises:
            NlaeError: A layer does not exist in a model of `n_layers` blocks.
        """
        given: Sequence[int] = range(n_layers) if self.layers is None else self.layers
        layers = {Site(layer=layer).resolve(n_layers).index for layer in given}
        if self.depths is not None:
            layers = {Site(depth=depth).resolve(n_layers).index for depth in self.depths}
        return replace(self, layers=tuple(sorted(layers)), depths=None)

    @property
    def sites(self) -> tuple[Site, ...]:
        """All sites of a resolved mixture: layer by layer, kinds in the order given."""
        if self.layers is None:
            raise NlaeError("the mixture has no layers yet: call SiteMixture.resolve(n_layers) first")
        return tuple(Site(kind, layer, min_position=self.min_position) for layer in self.layers for kind in self.kinds)


def resolved_sites(site: Site | SiteMixture, n_layers: int) -> tuple[Site, ...]:
    """The sites that a config's `site` means in a model of `n_layers` blocks; one for a plain site."""
    if isinstance(site, SiteMixture):
        return site.resolve(n_layers).sites
    return (site.resolve(n_layers),)


def deepest(sites: Sequence[Site]) -> Site:
    """The site that needs the most blocks; the first of them where several need as many."""
    return max(sites, key=lambda site: site.index)
