"""The NL decoder: the target's own first blocks, reading an explanation, and a linear head on the last token.

The head starts as the identity: an untrained reconstructor answers with the activation of its prompt's last token, in
the right space. The final norm is left out as in the paper; a separate head for the norm is optional, since direction
and magnitude are scored apart.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from nlae.functional.scaling import unit
from nlae.functional.transfers import send
from nlae.model.backbone import RECONSTRUCTOR, AdapterSettings, Backbone
from nlae.model.prompt import Prompt
from nlae.target import Site


@dataclasses.dataclass(frozen=True)
class ReconstructorSettings:
    """The `reconstructor` node of a config.

    Attributes:
        adapter: LoRA settings; None trains a full copy of the trunk.
        magnitude: predict the norm too.
        max_tokens: most tokens read, template included.
    """

    adapter: AdapterSettings | None = dataclasses.field(default_factory=AdapterSettings)
    magnitude: bool = False
    max_tokens: int = 160


class Reconstructor(nn.Module):
    """Rebuilds activations from words.

    Args:
        backbone: weights of all roles.
        prompt: the reconstructor's template.
        max_tokens: explanations are cut so that template and text fit.
        magnitude: add a head for log ‖h‖.
        role: the backbone's role to read with.
        site: what is rebuilt; None is the backbone's.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompt: Prompt,
        *,
        max_tokens: int = 160,
        magnitude: bool = False,
        role: str = RECONSTRUCTOR,
        site: Site | None = None,
    ) -> None:
        super().__init__()
        self.site = site or backbone.site
        self.backbone, self.prompt, self.max_tokens, self.role = backbone, prompt, max_tokens, role
        width = backbone.trunk(role, self.site).width
        self.head = nn.Linear(width, width, bias=False, device=backbone.target.device)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(width))
        self.norm_head = nn.Linear(width, 1, device=backbone.target.device) if magnitude else None
        if self.norm_head is not None:
            nn.init.zeros_(self.norm_head.weight)
            nn.init.zeros_(self.norm_head.bias)

    def forward(self, explanations: list[str]) -> tuple[Tensor, Tensor | None]:
        """Unit vectors (B, D) in float32, and log-norm offsets (B,) relative to the site's median norm, or None."""
        return self.read(*self.encode(explanations))

    def read(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `forward`, for what `encode` returned."""
        with self.backbone.use(self.role):
            # no mask: rows are padded on the right, where a causal model cannot see
            hidden_BTD = self.backbone.trunk(self.role, self.site)(input_ids=ids_BT)
            # by the mask, not by index −1
            last_BD = hidden_BTD[torch.arange(len(ids_BT), device=ids_BT.device), mask_BT.sum(1) - 1]
        return self.answer(last_BD)

    def answer(self, last_BD: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the heads make of the trunk's activation at the last token; as `forward` returns it."""
        direction_BD = unit(last_BD)
        log_norm_B = self.norm_head(direction_BD).squeeze(-1) if self.norm_head is not None else None
        return unit(self.head(direction_BD)), log_norm_B

    def encode(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of the filled-in template, right-padded; both (B, T)."""
        ids_BT, mask_BT = send(self.backbone.target.device, *self.render(explanations))
        return ids_BT, mask_BT

    def render(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """As `encode`, on the host."""
        return self.prompt.render_reconstructor(
            self.backbone.target.tokenizer, explanations, max_length=self.max_tokens
        )

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of this reader alone, heads included."""
        return [*self.backbone.parameters_of(self.role), *self.own_parameters()]

    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters of the heads."""
        return [*self.head.parameters(), *(self.norm_head.parameters() if self.norm_head is not None else [])]
