"""The NL encoder at all sites of an autoencoder: one set of weights, and for each site its prompt, scale and maps.

It is a LightningModule, trained alone on the teacher's text (goal `verbalizer`) before `reinforce` joins it.
What it does at one site is in `site_verbalizer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from nlae.activations.datamodule import Batch
from nlae.errors import NlaeError
from nlae.functional.scaling import SiteStatistics
from nlae.functional.transfers import Figures, send
from nlae.model.adapters import AdapterSettings
from nlae.model.backbone import VERBALIZER, Backbone
from nlae.model.injection import InjectionSettings
from nlae.model.learner import MICRO_TOKENS, Half
from nlae.model.micro import responses
from nlae.model.optimizer import ADAMW
from nlae.model.prompt import Prompt
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.model.validation import mean_over_sites, of_verbalizer


class Verbalizer(Half[SiteVerbalizer]):
    """Writes explanations of activations.

    Args:
        backbone: weights and sites; gets this role's weights if it has none.
        prompt: templates and tags; `{site}` is filled in for each site.
        statistics: of each site's training activations, by site name; only their alpha is used.
        adapter: LoRA settings; None trains a full copy of the model.
        injection: how vectors enter; without a scale each site's are injected at its own alpha.
        batch_size: rows per update of its own fit.
        lr: peak learning rate of its own fit.
        updates, warmup, decay, clip_norm, weight_decay, micro_tokens, validate_every, seed, optimizer: see `Learner`.

    Raises:
        NlaeError: injection settings that this model cannot have, or neither a scale nor statistics.
    """

    name, kept = VERBALIZER, "map"

    def __init__(
        self,
        *,
        backbone: Backbone,
        prompt: Prompt,
        statistics: Mapping[str, SiteStatistics] | None = None,
        adapter: AdapterSettings | None = AdapterSettings(),  # noqa: B008  # frozen
        injection: InjectionSettings = InjectionSettings(),  # noqa: B008  # frozen
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
        backbone.add(VERBALIZER, adapter)
        self.backbone, self.prompt, self.injection = backbone, prompt, injection
        self.by_name: dict[str, SiteVerbalizer] = {}
        for site in backbone.sites:
            scale = injection.scale
            if scale is None:
                if statistics is None or site.name not in statistics:
                    raise NlaeError(
                        f"there are no activation statistics of {site.name} to take its scale from: set "
                        "verbalizer.injection.scale"
                    )
                scale = statistics[site.name].alpha
            self.by_name[site.name] = SiteVerbalizer(backbone, prompt.at(site.label), injection, scale, site)
        self.parts = nn.ModuleList(self.by_name.values())

    def freeze_reference(self) -> None:
        """Make role `reference` a frozen copy of all that has been learned, the maps of all sites included."""
        self.backbone.add_reference()
        for part in self.by_name.values():
            part.freeze_maps()

    # its own fit

    def training_step(self, batch: Batch, index: int) -> None:
        """One update on a `Batch` of one site with the teacher's text."""
        assert batch.explanation is not None
        self.finish_update(self.step(self.sft_loss(batch.activation_BD, batch.explanation, batch.site)))

    def sft_loss(self, activation_BD: Tensor, explanation: list[str], name: str | None = None) -> Figures:
        """Gradient of the mean negative log-likelihood per token of given texts, closing tags included, in nats.

        Args:
            activation_BD: raw activations.
            explanation: their texts.
            name: of their site; None is the only one.
        """
        part = self.at(name)
        token_BT, mask_BT = part.render_responses(explanation)
        (token_BT,), tokens = send(self.backbone.target.device, token_BT), mask_BT.sum()
        # in double precision on the device, as the host would add them up
        nll = torch.zeros((), dtype=torch.float64, device=token_BT.device)
        for micro in responses(part, activation_BD, token_BT, mask_BT, self.micro_tokens):
            loss = -micro.logp_BT.sum() / tokens
            self.manual_backward(loss)
            nll += loss.detach()
        return {"verbalizer/nll": nll}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """What the teacher's text of held-out rows costs, and what a shuffled pairing adds."""
        held = self.validation or {}
        return mean_over_sites({site: of_verbalizer(self.at(site), rows) for site, rows in held.items()}, "val/nll")
