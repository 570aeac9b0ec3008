"""Settings of the dictionary. No torch here: they are built and checked before any model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from nlae.errors import NlaeError

OWN = ("with", "without", "write", "context")
CONTEXTS_AT = ("mlp_in", "mlp_neurons")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DictionarySettings:
    """What is described, how much is spent on it, and what an entry must show to pass.

    Attributes:
        autoencoder: option of the group `site` that the autoencoder is trained on, taken where no site is typed.
        layers: blocks that get entries; None is all of them.
        directions: a SAELens folder or a file of directions that get entries in place of neurons; the autoencoder must
            be trained at their site.
        scan: settings of the stage `scan`.
        contexts_per_layer: contexts that are verbalised once and shared by all entries of the layer.
        contexts_at: where contexts are put into words: at the layer's MLP input, or at its neurons. What is done to a
            neuron, and held-out contexts for per-neuron R², is always put into words at the neurons.
        candidates: shared texts that an entry chooses among; at most as many texts of a sampled entry stand on
            either side of the comparison of the autoencoder with key words.
        sample: neurons, spread over layers and frequencies, that get candidates of their own.
        both_signs: whether both signs of these do; else one of each, drawn.
        own: kinds of candidates that these get: `with`, `without` and `write` are written, `context` is not.
        temperature: of the verbalizer; 0 is greedy.
        batch_size: texts written at once; what a kill loses at most.
        neutral: text whose reading stands for "nothing in particular"; None takes the mean reading of the layer's
            shared texts, which has their form and leaves what they have in common out.
        word_limit: words of a context-only text at most.
        window: tokens before an exemplar's peak that context-only texts are made from.
        rotated: random orthogonal directions and permuted neurons per layer, as many of each, as nulls.
        active_quantile: an entry is active above this quantile of its own training activations.
        min_passages: entries active in fewer passages of a panel are not scored there.
        cluster_top: strongest contexts that are grouped.
        cluster_quantile: contexts are joined when more alike than this share of random pairs.
        fdr, min_auroc, min_margin: an entry passes at this q-value, AUROC, and distance above the last-token table.
        readable_rows: held-out contexts per layer that are written and rebuilt for per-neuron R²; 0 leaves it out, and
            the linear ceiling on the same contexts.
        promoted: tokens shown per entry that its write direction raises and lowers most.
        teacher: a language model (`openai`, `anthropic` or `local`) whose descriptions of exemplars are candidates too;
            None asks nobody.
        judge: who says from descriptions alone where entries fire; None leaves detection and fuzzing out.
        judged: sampled entries that are judged, over layers and frequencies, whether they pass or not.
        judging: settings of the judging.
        steered: sampled entries that are steered with; 0 leaves output scores out.
        steering: settings of the steering.
        seed: of samples, nulls, decoys, judging, steering and bootstrap.
    """

    autoencoder: str = "mixture"
    layers: Sequence[int] | None = None
    directions: str | None = None
    scan: Any = None
    contexts_per_layer: int = 200
    contexts_at: str = "mlp_in"
    candidates: int = 4
    sample: int = 1500
    both_signs: bool = False
    own: Sequence[str] = OWN
    temperature: float = 0.0
    batch_size: int = 64
    neutral: str | None = "Some text."
    word_limit: int = 20
    window: int = 24
    rotated: int = 64
    active_quantile: float = 0.99
    min_passages: int = 8
    cluster_top: int = 16
    cluster_quantile: float = 0.99
    fdr: float = 0.05
    min_auroc: float = 0.7
    min_margin: float = 0.05
    readable_rows: int = 64
    promoted: int = 8
    teacher: Any = None
    judge: Any = None
    judged: int = 300
    judging: Any = None
    steered: int = 0
    steering: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that no dictionary can satisfy."""
        for name in (
            "contexts_per_layer",
            "candidates",
            "batch_size",
            "min_passages",
            "cluster_top",
            "word_limit",
            "window",
        ):
            if getattr(self, name) < 1:
                raise NlaeError(f"dictionary.{name}={getattr(self, name)} must be at least 1")
        if self.contexts_at not in CONTEXTS_AT:
            raise NlaeError(f"dictionary.contexts_at={self.contexts_at} must be one of {', '.join(CONTEXTS_AT)}")
        for name in ("sample", "rotated", "readable_rows", "promoted", "temperature", "judged", "steered"):
            if getattr(self, name) < 0:
                raise NlaeError(f"dictionary.{name}={getattr(self, name)} must not be negative")
        if self.readable_rows == 1:
            raise NlaeError("dictionary.readable_rows=1: take 0, or 2 at least: one row has no other to fit on")
        for name in ("active_quantile", "cluster_quantile", "fdr", "min_auroc", "min_margin"):
            if not 0 <= getattr(self, name) < 1:
                raise NlaeError(f"dictionary.{name}={getattr(self, name)} must lie in [0, 1)")
        for kind in self.own:
            if kind not in OWN:
                raise NlaeError(f"dictionary.own holds {kind}: unknown; choose among {', '.join(OWN)}")
        if self.directions is not None and self.layers is not None:
            raise NlaeError(
                "dictionary.directions and dictionary.layers are both set: drop one, as directions live at one site"
            )
        if self.directions is not None and (self.judge is not None or self.steered):
            raise NlaeError(
                "dictionary.directions is set, but only neurons are judged and steered with: take dictionary=default, "
                "dictionary.steered=0"
            )
        if self.neutral is not None and not self.neutral.strip():
            raise NlaeError("dictionary.neutral is empty: the reconstructor must have something to read")
        if self.layers is not None and len(set(self.layers)) != len(self.layers):
            raise NlaeError(f"dictionary.layers={list(self.layers)} names a layer twice")
