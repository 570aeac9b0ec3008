"""The pair: a verbalizer and a reconstructor on one backbone, with what is needed to use and to trust them.

This is what `nlae.Autoencoder` is in Python. Training lives in `objective`, scoring in `evaluation`; files in
`checkpoint`. Several devices are left out here: a pair lives on one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.functional.randomness import derive_seed
from nlae.functional.scaling import SiteStatistics
from nlae.model.backbone import RECONSTRUCTOR, VERBALIZER, AdapterSettings, Backbone
from nlae.model.prompt import Prompt
from nlae.model.reconstructor import Reconstructor
from nlae.model.verbalizer import InjectionSettings, Verbalizer
from nlae.target import Site, Target
from nlae.target.selfcheck import check_marker

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


@dataclasses.dataclass(frozen=True)
class PairSettings:
    """Everything that fixes the shape of a pair; stored in its checkpoint and compared at load.

    Attributes:
        prompt: templates of both roles.
        injection: how vectors enter; its scale is resolved (never None) in a checkpoint.
        verbalizer_adapter: None trains all weights.
        reconstructor_adapter: None trains all weights.
        magnitude: whether the reconstructor predicts the norm too.
        max_tokens: most tokens the reconstructor reads, template included.
        precision: `fp32`, `bf16-mixed` or `bf16-base`.
        seed: of the adapters' initialisation.
    """

    prompt: Prompt
    injection: InjectionSettings = dataclasses.field(default_factory=InjectionSettings)
    verbalizer_adapter: AdapterSettings | None = dataclasses.field(default_factory=AdapterSettings)
    reconstructor_adapter: AdapterSettings | None = dataclasses.field(default_factory=AdapterSettings)
    magnitude: bool = False
    max_tokens: int = 160
    precision: str = "fp32"
    seed: int = 0

    @property
    def dtype(self) -> str:
        """Type of the target's weights under this precision."""
        return "bfloat16" if self.precision == "bf16-base" else "float32"


class Autoencoder:
    """A natural language autoencoder of one site of one target.

    Args:
        target: the frozen model.
        site: where its activations are read (resolved).
        statistics: of the site's training activations; None for a foreign pair without them.
        settings: shape of the pair.
        meta: further facts for the checkpoint: stage, fingerprints, updates.
        distractors_MD: 100 training unit vectors that ranks are taken among, or None.
        engine: writes explanations.
        backbone: ready-made weights (a foreign pair, or those that a mixture's sites share); None builds them from the
            settings.
    """

    def __init__(
        self,
        target: Target,
        site: Site,
        statistics: SiteStatistics | None,
        settings: PairSettings,
        *,
        meta: dict[str, Any] | None = None,
        distractors_MD: Tensor | None = None,
        engine: RolloutEngine | None = None,
        backbone: Backbone | None = None,
    ) -> None:
        self.target, self.site, self.prompt = target, site, settings.prompt.at(site.label)
        self.meta, self.distractors_MD = dict(meta or {}), distractors_MD
        from nlae.rollout import default_engine

        self._statistics, self.engine = statistics, engine or default_engine(target)
        scale = settings.injection.scale
        if scale is None:
            scale = self.statistics.alpha
        self.settings = dataclasses.replace(settings, injection=dataclasses.replace(settings.injection, scale=scale))
        self.backbone = backbone or Backbone(
            target,
            site,
            verbalizer_adapter=settings.verbalizer_adapter,
            reconstructor_adapter=settings.reconstructor_adapter,
            precision=settings.precision,
            seed=settings.seed,
        )
        self.verbalizer = Verbalizer(self.backbone, self.prompt, target.tokenizer, self.settings.injection, scale, site)
        check_marker(target, self.verbalizer.ids.slot_id)
        self.reconstructor = Reconstructor(
            self.backbone, self.prompt, max_tokens=settings.max_tokens, magnitude=settings.magnitude, site=site
        )

    @property
    def statistics(self) -> SiteStatistics:
        """Training statistics of the site.

        Raises:
            NlaeError: a foreign pair came without them.
        """
        if self._statistics is None:
            raise NlaeError("this checkpoint has no activation statistics: FVE is not defined for it, cosine is")
        return self._statistics

    @property
    def has_statistics(self) -> bool:
        """Whether FVE can be computed."""
        return self._statistics is not None

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", precision: str | None = None) -> Autoencoder:
        """Read a checkpoint: a folder of ours, an exported `av`/`ar` pair, or a hub id of either (`id@revision`)."""
        from nlae.model.checkpoint import load

        return load(path, device=device, precision=precision)

    def save(self, folder: str | Path) -> None:
        """Write a checkpoint folder, whole or not at all."""
        from nlae.model.checkpoint import save

        save(self, Path(folder))

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
            return self._read([texts], 1, progress)[0][0]
        return self._read(texts, batch_size or 64, progress)[0]

    def reconstruct_norm(self, texts: Sequence[str], *, batch_size: int | None = None) -> Tensor | None:
        """Predicted ‖h‖ per text, float32 (N,) on the CPU; None without a magnitude head."""
        return self._read(texts, batch_size or 64, None)[1]

    @torch.no_grad()
    def nll(self, activation_ND: Tensor, texts: Sequence[str], *, batch_size: int = 32) -> float:
        """Mean negative log-likelihood per token of given texts, in nats."""
        total, count = 0.0, 0.0
        for start in range(0, len(texts), batch_size):
            token_BT, mask_BT = self.verbalizer.encode_responses(list(texts[start : start + batch_size]))
            logp_BT = self.verbalizer.logprobs(activation_ND[start : start + batch_size], token_BT)
            total -= float((logp_BT * mask_BT).sum())
            count += float(mask_BT.sum())
        return total / count

    def explain(self, text: str | None = None, **options: Any) -> Reading:
        """Explain the activations of a text, a chat or given vectors; see `nlae.explain.explain`."""
        from nlae.explain import explain

        return explain(self, text=text, **options)

    def trained_state(self) -> dict[str, Tensor]:
        """All trained weights by `role.name`, the injection map and the frozen reference included."""
        backbone = self.backbone
        state: dict[str, Tensor] = {}
        for role in (VERBALIZER, RECONSTRUCTOR):
            state |= {f"{role}.{name}": weight for name, weight in backbone.state(role).items()}
        state |= {f"head.{k}": v.detach() for k, v in _heads(self.reconstructor).items()}
        state |= {f"map.{k}": v.detach() for k, v in self.verbalizer.maps.state_dict().items() if VERBALIZER in k}
        return state

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Copy what `trained_state` returned into this pair.

        Raises:
            NlaeError: the weights do not fit.
        """
        for role in (VERBALIZER, RECONSTRUCTOR):
            self.backbone.load_state(role, _under(state, role))
        try:
            self.reconstructor.load_state_dict(_under(state, "head"), strict=False)
            self.verbalizer.maps.load_state_dict(_under(state, "map"), strict=False)
        except RuntimeError as error:
            raise NlaeError(f"heads do not fit this model: {str(error).splitlines()[-1].strip()}") from error
        missing = {f"head.{k}" for k in _heads(self.reconstructor)} - state.keys()
        if missing:
            raise NlaeError(
                f"the checkpoint lacks {', '.join(sorted(missing))}: reconstructor settings disagree with it"
            )

    @torch.no_grad()
    def _read(self, texts: Sequence[str], size: int, progress: Progress | None) -> tuple[Tensor, Tensor | None]:
        """Direction and norm per text; texts of like length share a batch."""
        width = self.reconstructor.head.weight.shape[0]
        direction_ND = torch.empty(len(texts), width)
        norm_N = torch.ones(len(texts)) if self.reconstructor.norm_head is not None else None
        empty = [i for i, text in enumerate(texts) if not text.strip()]
        if empty:
            direction_ND[empty] = self.statistics.constant_D.cpu() if self.has_statistics else torch.nan
        filled = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: len(texts[i]))
        for start in range(0, len(filled), size):
            rows = filled[start : start + size]
            predicted_BD, log_norm_B = self.reconstructor([texts[i] for i in rows])
            direction_ND[rows] = predicted_BD.float().cpu()
            if norm_N is not None and log_norm_B is not None:
                norm_N[rows] = log_norm_B.float().exp().cpu()
            if progress is not None:
                progress(len(rows))
        return direction_ND, None if norm_N is None else norm_N * self.statistics.norm_median


def _heads(reconstructor: Reconstructor) -> dict[str, Tensor]:
    return {k: v for k, v in reconstructor.state_dict().items() if k.startswith(("head.", "norm_head."))}


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = prefix + "."
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
