"""The mixture itself: views, readings of text at many sites, trained weights by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.functional.scaling import SiteStatistics
from nlae.model.autoencoder import Autoencoder, PairSettings
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER, Backbone
from nlae.model.roles import Reconstructors, Verbalizers
from nlae.target import Site, Target, deepest

if TYPE_CHECKING:
    from nlae.rollout import RolloutEngine


class Mixture:
    """One natural language autoencoder of several sites.

    Args:
        target: the frozen model.
        sites: where its activations are read (resolved), in the order in which views are listed.
        statistics: of each site's training activations, by site name.
        settings: shape of the pair; without a scale each site is injected at its own alpha.
        meta: further facts for the checkpoint.
        distractors: training unit vectors that ranks are taken among, by site name.
        engine: writes explanations.

    Raises:
        NlaeError: no site, one named twice, statistics missing, or a reconstructor's template that names the site.
    """

    def __init__(
        self,
        target: Target,
        sites: Sequence[Site],
        statistics: Mapping[str, SiteStatistics],
        settings: PairSettings,
        *,
        meta: dict[str, Any] | None = None,
        distractors: Mapping[str, Tensor] | None = None,
        engine: RolloutEngine | None = None,
    ) -> None:
        names = [site.name for site in sites]
        if not names or len(set(names)) < len(names) or set(names) - statistics.keys():
            raise NlaeError(f"a mixture needs sites, each once and with statistics; got {', '.join(names) or 'none'}")
        if "{site}" in settings.prompt.reconstructor:
            raise NlaeError("prompt.reconstructor names {site}, but a mixture reads a text once for all sites: drop it")
        self.target, self.settings, self.meta = target, settings, dict(meta or {})
        self.sites = tuple(sites)
        self.backbone = Backbone(
            target,
            deepest(sites),
            verbalizer_adapter=settings.verbalizer_adapter,
            reconstructor_adapter=settings.reconstructor_adapter,
            precision=settings.precision,
            seed=settings.seed,
        )
        from nlae.rollout import default_engine

        engine = engine or default_engine(target)
        self._views = {
            site.name: Autoencoder(
                target,
                site,
                statistics[site.name],
                settings,
                meta=self.meta,
                distractors_MD=(distractors or {}).get(site.name),
                engine=engine,
                backbone=self.backbone,
            )
            for site in self.sites
        }
        self.verbalizer = Verbalizers(self.backbone, {name: view.verbalizer for name, view in self._views.items()})
        self.reconstructor = Reconstructors(
            self.backbone, {name: view.reconstructor for name, view in self._views.items()}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all sites, e.g. `mlp_in.12`, in order."""
        return tuple(self._views)

    @property
    def engine(self) -> RolloutEngine:
        """What writes explanations at every site."""
        return self.at(self.names[0]).engine

    @engine.setter
    def engine(self, engine: RolloutEngine) -> None:
        for view in self._views.values():
            view.engine = engine

    def at(self, name: str) -> Autoencoder:
        """The autoencoder of one site: its own statistics, scale, prompt, head; weights shared with all others.

        Raises:
            NlaeError: there is no such site.
        """
        if name not in self._views:
            raise NlaeError(f"this mixture has no site {name}; it has {', '.join(self.names)}")
        return self._views[name]

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", precision: str | None = None) -> Mixture:
        """Read a checkpoint folder of a mixture."""
        from nlae.model.mixture_files import load

        return load(path, device=device, precision=precision)

    def save(self, folder: str | Path) -> None:
        """Write a checkpoint folder, whole or not at all."""
        from nlae.model.mixture_files import save

        save(self, Path(folder))

    @torch.no_grad()
    def readings(
        self,
        texts: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Tensor]:
        """What each text says at several sites: `at(name).reconstruct(texts)` for all names, from one pass a batch.

        Args:
            texts: explanations; an empty one gives each site's μ/‖μ‖.
            names: sites; None takes all.
            batch_size: texts per pass; texts of like length share one.
            progress: called with the number of texts just read.

        Returns:
            Unit vectors float32 [n, width] on the CPU, by site name.
        """
        names = list(self.names if names is None else names)
        views = {name: self.at(name) for name in names}
        found = {name: torch.empty(len(texts), view.reconstructor.head.weight.shape[0]) for name, view in views.items()}
        empty = [i for i, text in enumerate(texts) if not text.strip()]
        for name, view in views.items():
            found[name][empty] = view.statistics.constant_D.cpu()
        filled = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: len(texts[i]))
        for start in range(0, len(filled), batch_size):
            rows = filled[start : start + batch_size]
            for name, (unit_BD, _) in self.reconstructor([texts[i] for i in rows], names).items():
                found[name][rows] = unit_BD.float().cpu()
            if progress is not None:
                progress(len(rows))
        return found

    def trained_state(self) -> dict[str, Tensor]:
        """All trained weights by name: `role.…` once, `head.<site>.…` and `map.<site>.…` for each site."""
        state: dict[str, Tensor] = {}
        for role in (VERBALIZER, RECONSTRUCTOR):
            state |= {f"{role}.{name}": weight for name, weight in self.backbone.state(role).items()}
        for site, view in self._views.items():
            state |= {f"{part}.{site}.{key}": weight for part, key, weight in _own(view)}
        return state

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy what `trained_state` returned into this mixture.

        Raises:
            NlaeError: the weights do not fit.
        """
        wanted = self.trained_state()
        if odd := sorted(wanted.keys() ^ state.keys())[:2]:
            raise NlaeError(f"weights do not fit this mixture (first differences: {', '.join(odd)})")
        for role in (VERBALIZER, RECONSTRUCTOR):
            start = f"{role}."
            self.backbone.load_state(role, {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})
        with torch.no_grad():
            for site, view in self._views.items():
                for part, key, weight in _own(view):
                    given = state[f"{part}.{site}.{key}"]
                    if weight.shape != given.shape:
                        raise NlaeError(
                            f"weight {part}.{site}.{key} is {tuple(given.shape)}, not {tuple(weight.shape)}"
                        )
                    weight.copy_(given)


def _own(view: Autoencoder) -> list[tuple[str, str, Tensor]]:
    """Weights that one site has for itself: part, name within it, the weight itself, detached."""
    reader = view.reconstructor
    heads = {"head": reader.head} | ({} if reader.norm_head is None else {"norm_head": reader.norm_head})
    own = [("head", f"{n}.{k}", w.detach()) for n, head in heads.items() for k, w in head.named_parameters()]
    maps = view.verbalizer.maps.named_parameters()
    return [*own, *(("map", name, weight.detach()) for name, weight in maps if VERBALIZER in name)]
