"""The NL decoder at all sites of an autoencoder: one reader of text, and for each site its heads.

A text is read once for any number of sites: one pass to the deepest of them, each hook read on the way. It is a
LightningModule, trained alone on the teacher's text (goal `reconstructor`) before `reinforce` joins it. What it does
at one site is in `site_reconstructor`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from nlae.activations.datamodule import Batch
from nlae.errors import NlaeError
from nlae.functional.scaling import SiteStatistics, unit
from nlae.functional.transfers import Figures
from nlae.model.adapters import AdapterSettings
from nlae.model.backbone import RECONSTRUCTOR, Backbone
from nlae.model.learner import MICRO_TOKENS, Half
from nlae.model.micro import predictions, readings
from nlae.model.optimizer import ADAMW
from nlae.model.prompt import Prompt
from nlae.model.site_reconstructor import Answer, Progress, SiteReconstructor, by_length
from nlae.model.validation import mean_over_sites, of_reconstructor
from nlae.target import deepest, read_sites

MAGNITUDE_WEIGHT = 0.1


class Reconstructor(Half[SiteReconstructor]):
    """Rebuilds activations from words.

    Args:
        backbone: weights and sites; gets this role's weights if it has none.
        prompt: the reconstructor's template.
        statistics: of each site's training activations, by site name; a site without any has no FVE.
        adapter: LoRA settings; None trains a full copy of the trunk.
        magnitude: add a head for log ‖h‖ at each site.
        max_tokens: explanations are cut so that template and text fit.
        head_rank: each site's head is the identity plus a map of this rank; None learns a whole matrix.
        batch_size: rows per update of its own fit.
        lr: peak learning rate of its own fit.
        updates, warmup, decay, clip_norm, weight_decay, micro_tokens, validate_every, seed, optimizer: see `Learner`.

    Raises:
        NlaeError: several sites and a template that names the site, or a rank that no head of a site has.
    """

    name, kept = RECONSTRUCTOR, "head"

    def __init__(
        self,
        *,
        backbone: Backbone,
        prompt: Prompt,
        statistics: Mapping[str, SiteStatistics] | None = None,
        adapter: AdapterSettings | None = AdapterSettings(),  # noqa: B008  # frozen
        magnitude: bool = False,
        max_tokens: int = 160,
        head_rank: int | None = None,
        updates: int = 1000,
        batch_size: int = 32,
        lr: float = 5e-4,
        warmup: int = 20,
        decay: float = 0.1,
        clip_norm: float = 1.0,
        weight_decay: float = 0.0,
        micro_tokens: int = MICRO_TOKENS,
        validate_every: int = 50,
        seed: int = 0,
        optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    ) -> None:
        super().__init__(
            updates=updates, warmup=warmup, decay=decay, clip_norm=clip_norm, weight_decay=weight_decay,
            micro_tokens=micro_tokens, validate_every=validate_every, seed=seed, optimizer=optimizer,
        )  # fmt: skip
        self.batch_size, self.lr = batch_size, lr
        if len(backbone.sites) > 1 and "{site}" in prompt.reconstructor:
            raise NlaeError("prompt.reconstructor names {site}, but a text is read once for all sites: drop it")
        backbone.add(RECONSTRUCTOR, adapter)
        self.backbone, self.prompt = backbone, prompt
        self.magnitude, self.max_tokens, self.head_rank = magnitude, max_tokens, head_rank
        self.by_name = {
            site.name: SiteReconstructor(
                backbone,
                prompt.at(site.label),
                site=site,
                statistics=(statistics or {}).get(site.name),
                max_tokens=max_tokens,
                magnitude=magnitude,
                head_rank=head_rank,
            )
            for site in backbone.sites
        }
        self.parts = nn.ModuleList(self.by_name.values())
        self._any = next(iter(self.by_name.values()))  # all have one template

    def forward(self, explanations: list[str], names: Sequence[str] | None = None) -> dict[str, Answer]:
        """What `SiteReconstructor` returns, for each of the named sites (all by default), from one pass."""
        return self.read(*self.encode(explanations), names)

    def encode(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of the filled-in template, right-padded; both (B, T)."""
        return self._any.encode(explanations)

    def render(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """As `encode`, on the host."""
        return self._any.render(explanations)

    def read(self, ids_BT: Tensor, mask_BT: Tensor, names: Sequence[str] | None = None) -> dict[str, Answer]:
        """As `forward`, for what `encode` returned."""
        readers = [self.at(name) for name in (self.by_name if names is None else names)]
        sites = [reader.site for reader in readers]
        rows_B, last_B = torch.arange(len(ids_BT), device=ids_BT.device), mask_BT.sum(1) - 1
        with self.backbone.use(RECONSTRUCTOR):
            trunk = self.backbone.trunk(RECONSTRUCTOR, deepest(sites))
            # no mask: rows are padded on the right, where a causal model cannot see
            last = read_sites(trunk, sites, lambda hidden_BTD: hidden_BTD[rows_B, last_B], input_ids=ids_BT)
        return {reader.site.name: reader.answer(last[reader.site.name]) for reader in readers}

    @torch.no_grad()
    def readings(
        self,
        texts: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """What each text says at several sites: `at(name).rebuild(texts)[0]` for all names, from one pass a batch.

        Args:
            texts: explanations; an empty one gives each site's μ/‖μ‖.
            names: sites; None takes all.
            batch_size: texts per pass; texts of like length share one.
            progress: called with the number of texts just read.

        Returns:
            Unit vectors float32 [n, width] on the CPU, by site name.
        """
        names = list(self.by_name if names is None else names)
        found = {name: torch.empty(len(texts), self.at(name).width) for name in names}
        empty, batches = by_length(texts, batch_size)
        for name in names:
            found[name][empty] = self.at(name).statistics.constant_D.cpu()
        for rows in batches:
            for name, (unit_BD, _) in self([texts[i] for i in rows], names).items():
                found[name][rows] = unit_BD.float().cpu()
            if progress is not None:
                progress(len(rows))
        return found

    # its own fit

    def training_step(self, batch: Batch, index: int) -> None:
        """One update on a `Batch` of any number of sites with the teacher's text."""
        assert batch.explanation is not None
        self.finish_update(self.step(self.reconstruction_loss(batch.activations, batch.explanation)))

    def reconstruction_loss(self, activations: Mapping[str, Tensor], explanation: list[str]) -> Figures:
        """Gradient of the mean ‖ĥ − ĥ'‖² over all sites given, and of the log-norm's error where it is predicted.

        Each text is read once for all sites.
        """
        device = self.backbone.target.device
        true_BD = {name: activation_BD.to(device) for name, activation_BD in activations.items()}
        total = torch.zeros((), dtype=torch.float64, device=device)
        for rows, ids_BT, mask_BT in readings(self, explanation, self.micro_tokens):
            answers = self.read(ids_BT, mask_BT, list(true_BD))
            share = len(rows) / len(explanation) / len(answers)
            loss = torch.zeros((), device=device)
            for name, (predicted_BD, log_norm_B) in answers.items():
                activation_BD = true_BD[name][rows]
                error = (predicted_BD - unit(activation_BD)).pow(2).sum(-1).mean()
                loss = loss + share * (error + self.magnitude_loss(name, activation_BD, log_norm_B))
                total += share * error.detach().double()
            self.manual_backward(loss)
        return {"reconstructor/error": total}

    def row_errors(
        self, activation_BD: Tensor, explanation: list[str], name: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `reconstruction_loss` at one site, returning of every row ‖ĥ − ĥ'‖² (B,) and ĥ' (B, D), detached."""
        part = self.at(name)
        activation_BD = activation_BD.to(self.backbone.target.device)
        error_B = torch.empty(len(explanation), device=activation_BD.device)
        reading_BD = torch.empty(activation_BD.shape, device=activation_BD.device)
        for rows, predicted_BD, log_norm_B in predictions(part, explanation, self.micro_tokens):
            given_BD = activation_BD[rows]
            part_B = (predicted_BD - unit(given_BD)).pow(2).sum(-1)
            share = len(rows) / len(explanation)
            self.manual_backward(share * (part_B.mean() + self.magnitude_loss(name, given_BD, log_norm_B)))
            error_B[rows], reading_BD[rows] = part_B.detach(), predicted_BD.detach().float()
        return error_B, reading_BD

    def magnitude_loss(self, name: str | None, activation_BD: Tensor, log_norm_B: Tensor | None) -> Tensor:
        """Squared error of log ‖h‖ relative to the site's median norm, weighted; 0 without a magnitude head."""
        if log_norm_B is None:
            return torch.zeros((), device=activation_BD.device)
        truth_B = (activation_BD.float().norm(dim=-1) / self.at(name).statistics.norm_median).log()
        return MAGNITUDE_WEIGHT * (log_norm_B - truth_B).pow(2).mean()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """How much of held-out activations the teacher's text gives back."""
        held = self.validation or {}
        figures = {site: of_reconstructor(self.at(site), rows) for site, rows in held.items()}
        return mean_over_sites(figures, "val/fve_teacher")
