"""One set of weights, several roles.

By default target, verbalizer, KL reference and reconstructor are the same frozen weights under different LoRA adapters;
a role without adapter settings gets a full copy of its own (full fine-tuning). Adapters are routed per call by
`Backbone.use`, which never touches `requires_grad`, so a joint backward reaches every role. Activation checkpointing
(`recompute`) runs a block again as the role it was run as, whichever is active by then.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from nlae.errors import NlaeError
from nlae.target import Site, Target, Trunk
from nlae.target.linear import speed_up
from nlae.target.lora import adaptable, lean
from nlae.target.quantization import is_quantized
from nlae.target.recompute import recompute

VERBALIZER, REFERENCE, RECONSTRUCTOR = "verbalizer", "reference", "reconstructor"
PRECISIONS = ("fp32", "bf16-mixed", "bf16-base")


@dataclasses.dataclass(frozen=True)
class AdapterSettings:
    """A LoRA adapter on every linear map of the blocks a role runs through.

    Attributes:
        rank: inner dimension.
        alpha: the update is scaled by alpha / rank.
    """

    rank: int = 16
    alpha: float = 16.0

    def config(self, modules: list[str], *, transposed: bool = False) -> LoraConfig:
        """The peft configuration for exactly these modules (dotted names); GPT-2 keeps its weights transposed."""
        alpha: Any = self.alpha  # peft's annotation says int, but it only divides by it
        return LoraConfig(
            r=self.rank,
            lora_alpha=alpha,
            lora_dropout=0.0,
            target_modules=modules,
            bias="none",
            fan_in_fan_out=transposed,
        )


class Backbone(nn.Module):
    """Weights of all roles of one autoencoder, and which of them is active.

    Args:
        target: the frozen model; with adapters its weights are shared by all roles.
        site: where activations are read; the reconstructor runs up to and including this hook. A mixture of sites
            gives its deepest.
        verbalizer_adapter: None trains a full copy of the model.
        reconstructor_adapter: None trains a full copy of the trunk.
        precision: `fp32`, `bf16-mixed` (fp32 weights under autocast) or `bf16-base` (bf16 weights, fp32 adapters).
        seed: of the adapters' random initialisation.
        copies: False leaves the weights of roles without adapters to `of_models`.
    """

    def __init__(
        self,
        target: Target,
        site: Site,
        *,
        verbalizer_adapter: AdapterSettings | None,
        reconstructor_adapter: AdapterSettings | None,
        precision: str = "fp32",
        seed: int = 0,
        copies: bool = True,
    ) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise NlaeError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
        if copies and precision == "bf16-base" and (verbalizer_adapter is None or reconstructor_adapter is None):
            # bf16 parameters under AdamW round most updates to zero
            raise NlaeError(
                "target.dtype=bfloat16 trains adapters only; train whole weights with trainer.precision=bf16-mixed"
            )
        if copies and (verbalizer_adapter is None or reconstructor_adapter is None):
            _refuse_quantized(target, "cannot be trained whole; keep verbalizer=lora and reconstructor=lora")
        self.target, self.site, self.precision, self.seed = target, site, precision, seed
        self.adapters: dict[str, AdapterSettings] = {}
        self.model: PreTrainedModel = target.model
        self.full_verbalizer: PreTrainedModel | None = None
        self.full_reference: PreTrainedModel | None = None
        self.full_trunks = nn.ModuleDict()
        self.active: str | None = None
        self.target_trunk = Trunk(self.model, site)
        # plain, not registered: cuts share all weights with the trunks they are made of
        self._cuts: dict[tuple[str, Site], Trunk] = {}
        if not copies:
            return
        if verbalizer_adapter is None:
            self.full_verbalizer = self.clean_copy("target").requires_grad_(True)
        else:
            self._add_adapter(VERBALIZER, verbalizer_adapter, adaptable(target, target.n_layers))
        self.add_reader(RECONSTRUCTOR, reconstructor_adapter)

    def add_reader(self, role: str, adapter: AdapterSettings | None, seed: int | None = None) -> None:
        """Add a role that reads text into vectors: an adapter on the blocks up to the site, or a copy of the trunk."""
        if adapter is None:
            self.full_trunks[role] = Trunk(self.clean_copy("target"), self.site).requires_grad_(True)
        else:
            self._add_adapter(role, adapter, adaptable(self.target, self.site.index + 1), seed)

    def add_reference(self) -> None:
        """Freeze a copy of everything the verbalizer's weights have learned so far, under the role `reference`."""
        if self.full_verbalizer is not None:
            self.full_reference = copy.deepcopy(self.full_verbalizer).requires_grad_(False)
            return
        self._add_adapter(REFERENCE, self.adapters[VERBALIZER], adaptable(self.target, self.target.n_layers))
        self.load_state(REFERENCE, self.state(VERBALIZER))
        for parameter in self.parameters_of(REFERENCE):
            parameter.requires_grad_(False)

    def remove(self, role: str) -> None:
        """Drop a role and its weights."""
        self.adapters.pop(role, None)
        if role in self.full_trunks:
            del self.full_trunks[role]
            self._cuts = {key: trunk for key, trunk in self._cuts.items() if key[0] != role}
        for _, layer in self._lora_layers():
            if role in layer.lora_A:
                layer.delete_adapter(role)

    def recompute(self) -> None:
        """From now on blocks of trained roles keep only what enters them: less memory, a third more arithmetic.

        Raises:
            NlaeError: blocks of this model share keys and values, so that none can run alone.
        """
        if getattr(self.model.config, "num_kv_shared_layers", 0):
            raise NlaeError("machine.checkpointing: blocks of this target share keys and values; set it to false")
        architecture, full = self.target.architecture, self.full_verbalizer
        decoders = [architecture.decoder(model) for model in (self.model, full) if model is not None]
        decoders += [trunk.decoder for trunk in self.full_trunks.values() if isinstance(trunk, Trunk)]
        for decoder in decoders:
            for index, block in enumerate(architecture.blocks(decoder)):
                recompute(block, index, self._surroundings)

    def _surroundings(self) -> Callable[[], contextlib.AbstractContextManager[None]] | None:
        role = self.active
        return None if role is None else lambda: self.use(role)

    @contextlib.contextmanager
    def use(self, role: str | None) -> Iterator[None]:
        """Run forwards as `role`; None is the bare target. Nesting restores the outer role."""
        if role is not None and role == self.active:
            yield
            return
        layers = [layer for _, layer in self._lora_layers()]
        before, outer, self.active = [layer._active_adapter for layer in layers], self.active, role
        active = [role] if role in self.adapters else []
        for layer in layers:
            # not peft's set_adapter: it would freeze every other role, whose gradient would then be silently zero
            layer._active_adapter = active
        # the bare target is read as extraction reads it
        mixed = self.precision != "fp32" and role is not None
        try:
            with torch.autocast(self.target.device.type, torch.bfloat16, enabled=mixed):
                yield
        finally:
            self.active = outer
            for layer, adapter in zip(layers, before, strict=True):
                layer._active_adapter = adapter

    def language_model(self, role: str) -> PreTrainedModel:
        """The model that `role` (verbalizer or reference) generates with; call it inside `use(role)`."""
        if role == VERBALIZER and self.full_verbalizer is not None:
            return self.full_verbalizer
        if role == REFERENCE and self.full_reference is not None:
            return self.full_reference
        return self.model

    def trunk(self, role: str | None, site: Site | None = None) -> Trunk:
        """The truncated trunk that `role` reads with, up to a shallower site if asked; call it inside `use(role)`."""
        whole = self.target_trunk
        for name, trunk in self.full_trunks.items():
            if name == role and isinstance(trunk, Trunk):
                whole = trunk
        if site is None or site == whole.site:
            return whole
        key = (role if whole is not self.target_trunk and role else "", site)
        if key not in self._cuts:
            self._cuts[key] = Trunk(whole.decoder, site)
        return self._cuts[key]

    def parameters_of(self, role: str) -> list[nn.Parameter]:
        """All weights that belong to `role` alone, in a stable order."""
        return list(self._named(role).values())

    def state(self, role: str) -> dict[str, Tensor]:
        """Weights of `role` by names that do not contain the role, detached."""
        return {name: parameter.detach() for name, parameter in self._named(role).items()}

    def load_state(self, role: str, state: dict[str, Tensor]) -> None:
        """Copy `state` into `role`.

        Raises:
            NlaeError: names or shapes do not match exactly.
        """
        own = self._named(role)
        if own.keys() != state.keys():
            odd = sorted(own.keys() ^ state.keys())[:2]
            raise NlaeError(f"weights of the {role} do not fit this model (first differences: {', '.join(odd)})")
        with torch.no_grad():
            for name, parameter in own.items():
                if parameter.shape != state[name].shape:
                    raise NlaeError(f"weight {name} of the {role} is {tuple(state[name].shape)}, not {parameter.shape}")
                parameter.copy_(state[name])

    def adapter_config(self, settings: AdapterSettings, modules: list[str]) -> LoraConfig:
        """What peft must know to put `settings` on these modules of this model."""
        maps = [self.model.get_submodule(name) for name in modules[:1]]
        return settings.config(modules, transposed=any(isinstance(_bare(part), Conv1D) for part in maps))

    def merged_state(self, role: str) -> dict[str, Tensor]:
        """State dict of the whole causal LM with the adapter of `role` merged, without any adapter keys."""
        if role == VERBALIZER and self.full_verbalizer is not None:
            return self.full_verbalizer.state_dict()
        _refuse_quantized(self.target, "cannot take adapters in, so nothing whole can be written from it")
        state = {k.replace(".base_layer.", "."): v for k, v in self.model.state_dict().items() if ".lora_" not in k}
        if role in self.full_trunks:
            # a trunk is the decoder cut short: its own weights lie over the target's, the rest is never read
            start = self._decoder_name()
            own = self.full_trunks[role].state_dict()
            return state | {start + name.removeprefix("decoder."): weight for name, weight in own.items()}
        for name, layer in self._lora_layers():
            if role in layer.lora_A:
                key = f"{name}.weight"
                state[key] = (state[key].float() + layer.get_delta_weight(role).float()).to(state[key].dtype)
        return state

    def clean_copy(self, role: str) -> PreTrainedModel:
        """The weights that `role` runs with, adapters merged, in a model of their own; `target` for the bare ones."""
        with self.target.device:  # not made on the host: a machine may have less memory than its GPU
            copied: Any = type(self.model)(copy.deepcopy(self.model.config))
        copied.to(self.target.dtype).load_state_dict(self.merged_state(role))
        computed = dict(self.model.named_buffers())
        for name, buffer in copied.named_buffers():  # frequencies: devices round their powers in different ways
            if name in computed:
                buffer.data = computed[name].clone()
        return speed_up(copied.train(self.model.training))

    @classmethod
    def of_models(
        cls, target: Target, site: Site, verbalizer: PreTrainedModel, reader: PreTrainedModel, *, precision: str
    ) -> Backbone:
        """A backbone of ready-made full models: `verbalizer` writes, `reader`'s blocks up to the site read."""
        backbone = cls(
            target, site, verbalizer_adapter=None, reconstructor_adapter=None, precision=precision, copies=False
        )
        backbone.full_verbalizer = verbalizer
        backbone.full_trunks[RECONSTRUCTOR] = Trunk(reader, site)
        return backbone

    def _add_adapter(self, role: str, settings: AdapterSettings, modules: list[str], seed: int | None = None) -> None:
        device = self.target.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), warnings.catch_warnings():
            torch.manual_seed(self.seed if seed is None else seed)
            # peft warns of a second adapter on one model, which is the very point here
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            # nor are experts adapted, which it expects of a mixture of them
            warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys")
            inject_adapter_in_model(self.adapter_config(settings, modules), self.model, adapter_name=role)
        lean(speed_up(self.model))
        self.adapters[role] = settings
        for _, layer in self._lora_layers():
            # outside `use` the shared weights are the bare target, whatever peft has just made active
            layer._active_adapter = []
        self.model.requires_grad_(False)
        for name in self.adapters:
            if name != REFERENCE:
                for parameter in self.parameters_of(name):
                    # the base may be bf16; an adapter in bf16 would not move
                    parameter.data = parameter.data.float().to(self.target.device)
                    parameter.requires_grad_(True)

    def _decoder_name(self) -> str:
        """Dotted name of the decoder inside the causal LM, with its final dot; empty when it is the model itself."""
        decoder = self.target.architecture.decoder(self.model)
        name = next(name for name, module in self.model.named_modules() if module is decoder)
        return f"{name}." if name else ""

    def _lora_layers(self) -> list[tuple[str, Any]]:
        return [(name, module) for name, module in self.model.named_modules() if isinstance(module, LoraLayer)]

    def _named(self, role: str) -> dict[str, nn.Parameter]:
        if role == VERBALIZER and self.full_verbalizer is not None:
            return dict(self.full_verbalizer.named_parameters())
        if role in self.full_trunks:
            return dict(self.full_trunks[role].named_parameters())
        end = f".{role}.weight"
        return {
            name.removesuffix(end) + ".weight": parameter
            for name, parameter in self.model.named_parameters()
            if ".lora_" in name and name.endswith(end)
        }


def _refuse_quantized(target: Target, reason: str) -> None:
    if is_quantized(target.model):
        raise NlaeError(f"target {target.source_name}: a quantised base {reason}; or set target.quantization=null")


def _bare(module: nn.Module) -> nn.Module:
    return getattr(module, "base_layer", module)
