"""The autoencoder: a verbalizer and a reconstructor on one base, for one site or several.

This is what `nlae.Autoencoder` is in Python. With one site its methods are used directly, with several those of
`at(name)`. Training lives in `training`, scoring in `evaluation`, files in `checkpoint`. Several devices are left out
here: an autoencoder lives on one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nlae.functional.scaling import SiteStatistics
from nlae.model.learner import copy_state
from nlae.model.per_site import part_at
from nlae.model.prompt import Prompt
from nlae.model.reconstructor import Reconstructor
from nlae.model.site_autoencoder import Explanation, Progress, SiteAutoencoder
from nlae.model.verbalizer import Verbalizer
from nlae.target import Site

if TYPE_CHECKING:
    from nlae.explain import Reading
    from nlae.rollout import RolloutEngine


class Autoencoder:
    """A natural language autoencoder of one target.

    Args:
        verbalizer: writes what an activation says.
        reconstructor: rebuilds it; on the same backbone.
        meta: further facts for the checkpoint: stage, fingerprints, updates.
        distractors: training unit vectors [M, width] that ranks are taken among, by site name.
        engine: writes explanations; None takes the best for the target.
    """

    def __init__(
        self,
        verbalizer: Verbalizer,
        reconstructor: Reconstructor,
        *,
        meta: dict[str, Any] | None = None,
        distractors: Mapping[str, Tensor] | None = None,
        engine: RolloutEngine | None = None,
    ) -> None:
        if verbalizer.backbone is not reconstructor.backbone:
            raise ValueError("verbalizer and reconstructor must share one backbone")
        from nlae.rollout import default_engine

        self.verbalizer, self.reconstructor, self.meta = verbalizer, reconstructor, dict(meta or {})
        self.backbone = verbalizer.backbone
        self.target, self.sites = self.backbone.target, self.backbone.sites
        engine = engine or default_engine(self.target)
        self._views = {
            name: SiteAutoencoder(
                verbalizer.at(name),
                reconstructor.at(name),
                engine=engine,
                meta=self.meta,
                distractors_MD=(distractors or {}).get(name),
            )
            for name in (site.name for site in self.sites)
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all sites, e.g. `resid.19`, in order."""
        return tuple(self._views)

    def at(self, name: str | None = None) -> SiteAutoencoder:
        """The autoencoder of one site: its own statistics, scale, prompt, head; without a name that of the only one.

        Raises:
            NlaeError: there is no such site, or there are several and none is named.
        """
        return part_at(self._views, name)

    @property
    def engine(self) -> RolloutEngine:
        """What writes explanations, at every site."""
        return self._views[self.names[0]].engine

    @engine.setter
    def engine(self, engine: RolloutEngine) -> None:
        for view in self._views.values():
            view.engine = engine

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", precision: str | None = None) -> Autoencoder:
        """Read a checkpoint: a folder of ours, an exported `av`/`ar` pair, or a hub id of either (`id@revision`)."""
        from nlae.model.checkpoint import load

        return load(path, device=device, precision=precision)

    def save(self, folder: str | Path) -> None:
        """Write a checkpoint folder, whole or not at all."""
        from nlae.model.checkpoint_writing import save

        save(self, Path(folder))

    def trained_state(self) -> dict[str, Tensor]:
        """All trained weights of both roles by name, detached."""
        return {**self.verbalizer.trained_state(), **self.reconstructor.trained_state()}

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy what `trained_state` returned into this autoencoder.

        Raises:
            NlaeError: the weights do not fit.
        """
        copy_state(self.trained_state(), state, "autoencoder")

    @staticmethod
    def row_seeds(seed: int, purpose: str, rows: Sequence[int]) -> list[int]:
        """One sampling seed per row, a function of (seed, purpose, row)."""
        return SiteAutoencoder.row_seeds(seed, purpose, rows)

    # with one site, the same as at() has

    @property
    def site(self) -> Site:
        """The only site."""
        return self.at().site

    @property
    def prompt(self) -> Prompt:
        """Templates and tags of the only site."""
        return self.at().prompt

    @property
    def statistics(self) -> SiteStatistics:
        """Training statistics of the only site."""
        return self.at().statistics

    @property
    def has_statistics(self) -> bool:
        """Whether FVE can be computed at the only site."""
        return self.at().has_statistics

    def activations(self, input_ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """See `SiteAutoencoder.activations`."""
        return self.at().activations(input_ids)

    def verbalize(self, activation_ND: Tensor, *, seeds: Sequence[int], **how: Any) -> list[Explanation]:
        """See `SiteAutoencoder.verbalize`."""
        return self.at().verbalize(activation_ND, seeds=seeds, **how)

    def reconstruct(
        self, texts: str | Sequence[str], *, batch_size: int | None = None, progress: Progress | None = None
    ) -> Tensor:
        """See `SiteAutoencoder.reconstruct`."""
        return self.at().reconstruct(texts, batch_size=batch_size, progress=progress)

    def reconstruct_norm(self, texts: Sequence[str], *, batch_size: int | None = None) -> Tensor | None:
        """See `SiteAutoencoder.reconstruct_norm`."""
        return self.at().reconstruct_norm(texts, batch_size=batch_size)

    def nll(self, activation_ND: Tensor, texts: Sequence[str], *, batch_size: int = 32) -> float:
        """See `SiteAutoencoder.nll`."""
        return self.at().nll(activation_ND, texts, batch_size=batch_size)

    def explain(self, text: str | None = None, **options: Any) -> Reading:
        """Explain the activations of a text, a chat or given vectors; see `nlae.explain.explain`."""
        return self.at().explain(text, **options)
