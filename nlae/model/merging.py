"""Weights of a role as those of a plain model, its adapter added to the base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nlae.errors import NlaeError
from nlae.target import Target
from nlae.target.quantization import is_quantized

if TYPE_CHECKING:
    from nlae.model.backbone import Backbone


def merged_state(backbone: Backbone, role: str) -> dict[str, Tensor]:
    """State dict of the whole causal LM with the adapter of `role` merged, without any adapter keys."""
    if role == "verbalizer" and backbone.full_verbalizer is not None:
        return backbone.full_verbalizer.state_dict()
    refuse_quantized(backbone.target, "cannot take adapters in, so nothing whole can be written from it")
    state = {k.replace(".base_layer.", "."): v for k, v in backbone.model.state_dict().items() if ".lora_" not in k}
    if role in backbone.full_trunks:
        # a trunk is the decoder cut short: its own weights lie over the target's, the rest is never read
        start = _decoder_name(backbone)
        own = backbone.full_trunks[role].state_dict()
        return state | {start + name.removeprefix("decoder."): weight for name, weight in own.items()}
    for name, layer in backbone.lora_layers():
        if role in layer.lora_A:
            key = f"{name}.weight"
            state[key] = (state[key].float() + layer.get_delta_weight(role).float()).to(state[key].dtype)
    return state


def refuse_quantized(target: Target, reason: str) -> None:
    """Raises: NlaeError, when the base is quantised, which then is what `reason` says."""
    if is_quantized(target.model):
        raise NlaeError(f"target {target.source_name}: a quantised base {reason}; or set target.quantization=null")


def _decoder_name(backbone: Backbone) -> str:
    """Dotted name of the decoder inside the causal LM, with its final dot; empty when it is the model itbackbone."""
    decoder = backbone.target.architecture.decoder(backbone.model)
    name = next(name for name, module in backbone.model.named_modules() if module is decoder)
    return f"{name}." if name else ""
