"""Where activations are read: a kind of hook and a layer.

Layer K always means the *output of block K*, counted from 0, which Hugging Face calls `hidden_states[K+1]`.
No torch here: sites are named, counted, compared and checked before any model is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nlae.errors import NlaeError

KINDS = {
    "resid": "blocks.{}.output",
    "mlp_in": "blocks.{}.mlp.input",
    "mlp_out": "blocks.{}.mlp.output",
    "mlp_neurons": "blocks.{}.mlp.down_proj.input",
}
LABELS = {"resid": "residual stream", "mlp_in": "MLP input", "mlp_out": "MLP output", "mlp_neurons": "MLP neurons"}
DEFAULT_DEPTH = 2 / 3


@dataclass(frozen=True)
class Site:
    """A kind of activation at one layer.

    Attributes:
        kind: `resid` (output of the block), `mlp_in` (what enters its MLP, behind the norm), `mlp_out` (output of its
            MLP) or `mlp_neurons` (input of that MLP's down-projection).
        layer: Block index K, counted from 0.
        depth: Instead of `layer`, a fraction: 0 is the first block, 1 the last. With neither, two thirds.
        min_position: Token positions below this one are reported apart (massive early activations).
    """

    kind: str = "resid"
    layer: int | None = None
    depth: float | None = None
    min_position: int = 8

    def __post_init__(self) -> None:
        """Refuse kinds, layers and depths that no model could have."""
        if self.kind not in KINDS:
            raise NlaeError(f"site.kind={self.kind}: unknown; choose one of {', '.join(KINDS)}")
        if self.layer is not None and self.depth is not None:
            raise NlaeError(f"site.layer={self.layer} and site.depth={self.depth} are both set; give one of them")
        if self.depth is not None and not 0 <= self.depth <= 1:
            raise NlaeError(f"site.depth={self.depth} is outside 0 to 1; 0 is the first block, 1 the last")
        if self.layer is not None and self.layer < 0:
            raise NlaeError(f"site.layer={self.layer} is negative; layers count from 0")
        if self.min_position < 0:
            raise NlaeError(f"site.min_position={self.min_position} is negative; positions count from 0")

    def resolve(self, n_layers: int) -> "Site":
        """The same site with an explicit layer, so that equal places compare equal.

        Raises:
            NlaeError: The layer does not exist in a model of `n_layers` blocks.
        """
        if self.layer is None:
            depth = DEFAULT_DEPTH if self.depth is None else self.depth
            return replace(self, layer=round(depth * (n_layers - 1)), depth=None)
        if self.layer >= n_layers:
            raise NlaeError(
                f"site.layer={self.layer} is out of range: this target has layers 0 to {n_layers - 1}; choose one"
            )
        return self

    @property
    def index(self) -> int:
        """Block index K of a resolved site."""
        if self.layer is None:
            raise NlaeError("the site has no layer yet: call Site.resolve(n_layers) first")
        return self.layer

    @property
    def sites(self) -> "tuple[Site, ...]":
        """This one alone, as `Sites.sites` lists several."""
        return (self,)

    @property
    def name(self) -> str:
        """Short name, e.g. `resid.19`."""
        return f"{self.kind}.{self.index}"

    @property
    def label(self) -> str:
        """The place in words, as prompts name it, e.g. `layer 19, residual stream`."""
        return f"layer {self.index}, {LABELS[self.kind]}"

    @property
    def hook(self) -> str:
        """Full name of the place, as stored in checkpoints, e.g. `blocks.19.output`."""
        return KINDS[self.kind].format(self.index)


@dataclass(frozen=True)
class Sites:
    """Several sites that share one autoencoder: kinds of hooks times layers.

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
        """Refuse sites that no model could have."""
        for name in ("kinds", "layers", "depths"):
            value = getattr(self, name)
            if isinstance(value, str | int | float):
                raise NlaeError(f"site.{name}={value} must be a list, e.g. site.{name}=[{value}]")
            # a list from a config becomes a tuple, so that these stay hashable
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

    def resolve(self, n_layers: int) -> "Sites":
        """The same sites with explicit layers in ascending order, so that equal ones compare equal.

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
        """All sites, once resolved: layer by layer, kinds in the order given."""
        if self.layers is None:
            raise NlaeError("the sites have no layers yet: call Sites.resolve(n_layers) first")
        return tuple(Site(kind, layer, min_position=self.min_position) for layer in self.layers for kind in self.kinds)


def deepest(sites: Sequence[Site]) -> Site:
    """The site that needs the most blocks; the first of them where several need as many."""
    return max(sites, key=lambda site: site.index)
