"""An autoencoder at one site: write what an activation says, rebuild it from the words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlae.functional.randomness import derive_seed
from nlae.functional.scaling import SiteStatistics
from nlae.model.prompt import Prompt
from nlae.model.site_reconstructor import SiteReconstructor
from nlae.model.site_verbalizer import SiteVerbalizer

if TYPE_CHECKING:
    from nlae.explain import Reading
    from nlae.rollout import RolloutEngine

Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What the verbalizer wrote about one activation.

    Attributes:
        text: between the tags; as far as it goes when it was not closed.
        closed: whether the closing tag was written.
        n_tokens: tokens generated, closing tag included.
    """

    text: str
    closed: bool
    n_tokens: int


class SiteAutoencoder:
    """What `Autoencoder` is at one of its sites; weights are shared with all others.

    Args:
        verbalizer: of this site.
        reconstructor: of this site.
        engine: writes explanations.
        meta: facts of the checkpoint.
        distractors_MD: 100 training unit vectors that ranks are taken among, or None.
    """

    def __init__(
        self,
        verbalizer: SiteVerbalizer,
        reconstructor: SiteReconstructor,
        *,
        engine: RolloutEngine,
        meta: dict[str, Any],
        distractors_MD: Tensor | None = None,
    ) -> None:
        self.verbalizer, self.reconstructor = verbalizer, reconstructor
        self.engine, self.meta, self.distractors_MD = engine, meta, distractors_MD
        self.backbone, self.site = verbalizer.backbone, verbalizer.site
        self.target = self.backbone.target

    @property
    def prompt(self) -> Prompt:
        """Templates and tags, those of this site."""
        return self.verbalizer.prompt

    @property
    def statistics(self) -> SiteStatistics:
        """Training statistics of the site.

        Raises:
            NlaeError: a foreign checkpoint came without them.
        """
        return self.reconstructor.statistics

    @property
    def has_statistics(self) -> bool:
        """Whether FVE can be computed."""
        return self.reconstructor.has_statistics

    @staticmethod
    def row_seeds(seed: int, purpose: str, rows: Sequence[int]) -> list[int]:
        """One sampling seed per row, a function of (seed, purpose, row)."""
        return [derive_seed(seed, purpose, int(row)) for row in rows]

    @torch.no_grad()
    def activations(self, input_ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Raw activations at every position of each sequence, float32 (T, D); special tokens are the caller's."""
        out = []
        with self.backbone.use(None):
            trunk = self.backbone.trunk(None, self.site)
            for ids in input_ids:
                ids_1T = torch.tensor([list(ids)], device=self.target.device)
                out.append(trunk(input_ids=ids_1T)[0].float().cpu())
        return out

    @torch.no_grad()
    def verbalize(
        self,
        activation_ND: Tensor,
        *,
        seeds: Sequence[int],
        temperature: float = 1.0,
        batch_size: int | None = None,
        inject: bool = True,
        progress: Progress | None = None,
    ) -> list[Explanation]:
        """Write one explanation per row.

        Args:
            activation_ND: raw activations of the site.
            seeds: one per row; a row's text does not depend on its batch.
            temperature: 0 is greedy.
            batch_size: rows per call of the engine.
            inject: False leaves the marker's own embedding in the slot.
            progress: called with the number of rows just finished.
        """
        if len(seeds) != len(activation_ND):
            raise ValueError(f"{len(seeds)} seeds for {len(activation_ND)} activations")
        size = batch_size or len(activation_ND) or 1
        out: list[Explanation] = []
        for start in range(0, len(activation_ND), size):
            rows = slice(start, start + size)
            done = self.engine(
                self.verbalizer,
                activation_ND[rows].to(self.target.device),
                seeds[rows],
                temperature=temperature,
                inject=inject,
                progress=progress,
            )
            fields = zip(done.text, done.closed.tolist(), done.length.tolist(), strict=True)
            out += [Explanation(text, bool(closed), int(n)) for text, closed, n in fields]
        return out

    def reconstruct(
        self, texts: str | Sequence[str], *, batch_size: int | None = None, progress: Progress | None = None
    ) -> Tensor:
        """Unit vectors rebuilt from text alone, float32 (N, D) on the CPU, (D,) for one text.

        An empty text gives μ/‖μ‖, or NaN where the checkpoint holds no statistics.
        """
        if isinstance(texts, str):
            return self.reconstructor.rebuild([texts], progress=progress)[0][0]
        return self.reconstructor.rebuild(texts, batch_size=batch_size or 64, progress=progress)[0]

    @torch.no_grad()
    def read_empty(self) -> Tensor:
        """What the reconstructor itself makes of its template around no text: unit, float32 (D,) on the CPU."""
        return self.reconstructor([""])[0][0].float().cpu()

    def reconstruct_norm(self, texts: Sequence[str], *, batch_size: int | None = None) -> Tensor | None:
        """Predicted ‖h‖ per text, float32 (N,) on the CPU; None without a magnitude head."""
        return self.reconstructor.rebuild(texts, batch_size=batch_size or 64)[1]

    def nll(self, activation_ND: Tensor, texts: Sequence[str], *, batch_size: int = 32) -> float:
        """Mean negative log-likelihood per token of given texts, in nats."""
        return self.verbalizer.nll(activation_ND, texts, batch_size=batch_size)

    def explain(self, text: str | None = None, **options: Any) -> Reading:
        """Explain the activations of a text, a chat or given vectors; see `nlae.explain.explain`."""
        from nlae.explain import explain

        return explain(self, text=text, **options)
