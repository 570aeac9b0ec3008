"""The first blocks of a model up to a site, sharing the model's own weights.

One object serves extraction and reconstruction. Nothing is copied: adapters that are put into the model, before or
after, act here too and receive gradients.
"""

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nlae.target.architecture import Architecture
from nlae.target.hooks import capture, first
from nlae.target.site import Site


class Trunk(nn.Module):
    """Blocks 0 to K of `model`, without the final norm, read at the site's hook.

    Args:
        model: A causal LM, with or without peft adapters.
        site: A resolved site.
    """

    def __init__(self, model: nn.Module, site: Site) -> None:
        super().__init__()
        self.site = site
        self.architecture = Architecture.of(model)
        self.decoder = _truncated(self.architecture.decoder(model), self.architecture, site.index + 1)
        self.width = site_width(model, site)

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Activations at the site.

        Args:
            input_ids: Token ids, shape (B, T); either these or `inputs_embeds`.
            inputs_embeds: What the embedding module would return, shape (B, T, D).
            attention_mask: 1 for real tokens, shape (B, T); padding may stand on either side.

        Returns:
            Shape (B, T, width); at padding the values mean nothing.
        """
        given: dict[str, Any] = {"attention_mask": attention_mask, "use_cache": False}
        if attention_mask is not None:
            given["position_ids"] = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        if self.site.kind == "resid":
            out = self.decoder(input_ids=input_ids, inputs_embeds=inputs_embeds, **given)
            hidden_BTD: Tensor = out.last_hidden_state
            return hidden_BTD
        with capture(self.decoder, self.site) as seen:
            self.decoder(input_ids=input_ids, inputs_embeds=inputs_embeds, **given)
        return seen.values[0]


def read_sites(
    trunk: Trunk,
    sites: Sequence[Site],
    pick: Callable[[Tensor], Tensor],
    *,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Activations at several sites from one forward pass, by the sites' names; gradients are kept.

    Args:
        trunk: Deep enough for all of them.
        sites: Resolved sites.
        pick: Applied to each (B, T, width) as soon as it is there, so that only what it keeps stays in memory.
        input_ids: Shape (B, T).
        attention_mask: As in `Trunk.forward`.
    """
    found: dict[str, Tensor] = {}
    handles = []

    def keep(name: str, hidden_BTD: Tensor) -> None:
        found[name] = pick(hidden_BTD)

    try:
        for site in sites:
            module, side = trunk.architecture.hooked(trunk.decoder, site.kind, site.index)
            if side == "input":
                handles.append(module.register_forward_pre_hook(lambda _m, args, n=site.name: keep(n, args[0])))
            else:
                handles.append(module.register_forward_hook(lambda _m, _a, out, n=site.name: keep(n, first(out))))
        trunk(input_ids=input_ids, attention_mask=attention_mask)
    finally:
        for handle in handles:
            handle.remove()
    return {site.name: found[site.name] for site in sites}


def read_last(hidden_BTD: Tensor, attention_mask_BT: Tensor) -> Tensor:
    """The activation at the last real token of each row, whichever side the padding is on; shape (B, D)."""
    positions_T = torch.arange(attention_mask_BT.shape[1], device=hidden_BTD.device)
    last_B = (attention_mask_BT.to(hidden_BTD.device).long() * (positions_T + 1)).argmax(-1)
    return hidden_BTD[torch.arange(hidden_BTD.shape[0], device=hidden_BTD.device), last_B]


def site_width(model: nn.Module, site: Site) -> int:
    """Number of entries of an activation at `site`."""
    architecture = Architecture.of(model)
    if site.kind != "mlp_neurons":
        embedding: Any = architecture.embedding(model)
        return int(embedding.weight.shape[1])
    return architecture.down_width(architecture.blocks(model)[site.index])


def _truncated(decoder: nn.Module, architecture: Architecture, n_layers: int) -> Any:
    shell = copy.copy(decoder)
    # copy.copy shares the registries: a child set on the copy would appear in the original
    for registry in ("_modules", "_forward_hooks", "_forward_pre_hooks"):
        shell.__dict__[registry] = copy.copy(decoder.__dict__[registry])
    blocks: Any = getattr(decoder, architecture.blocks_name)
    setattr(shell, architecture.blocks_name, nn.ModuleList(list(blocks)[:n_layers]))
    setattr(shell, architecture.final_norm_name, nn.Identity())
    config: Any = copy.deepcopy(decoder.config)
    if getattr(config, "layer_types", None):
        with contextlib.suppress(AttributeError):  # some derive it from the number of blocks
            config.layer_types = list(config.layer_types)[:n_layers]
    config.num_hidden_layers = n_layers
    shell.config = config
    return shell
