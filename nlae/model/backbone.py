"""One set of weights, several roles.

By default target, verbalizer, KL reference and reconstructor are the same frozen weights under different LoRA adapters;
a role without adapter settings gets a full copy of its own (full fine-tuning). Adapters are routed per call by
`Backbone.use`, which never touches `requires_grad`, so a joint backward reaches every role. Activation checkpointing
(`recompute`) runs a block again as the role it was run as, whichever is active by then.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from nlae.errors import NlaeError
from nlae.model.adapters import AdapterSettings
from nlae.model.merging import merged_state, refuse_quantized
from nlae.target import Site, Target, Trunk, deepest
from nlae.target.linear import speed_up
from nlae.target.lora import adaptable, lean
from nlae.target.recompute import recompute

VERBALIZER, REFERENCE, RECONSTRUCTOR = "verbalizer", "reference", "reconstructor"
PRECISIONS = ("fp32", "bf16-mixed", "bf16-base")


def base_dtype(precision: str) -> str:
    """Type of the target's weights under a precision."""
    return "bfloat16" if precision == "bf16-base" else "float32"


class Backbone(nn.Module):
    """Weights of all roles of one autoencoder, and which of them is active.

    Args:
        target: the frozen model; with adapters its weights are shared by all roles.
        sites: where activations are read (resolved), in the order in which they are listed; the reconstructor runs up
            to and including the deepest hook.
        precision: `fp32`, `bf16-mixed` (fp32 weights under autocast) or `bf16-base` (bf16 weights, fp32 adapters).
        seed: of the adapters' random initialisation.

    Raises:
        NlaeError: no site, or one named twice.
    """

    def __init__(
        self,
        target: Target,
        sites: Sequence[Site],
        *,
        precision: str = "fp32",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise NlaeError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
        names = [site.name for site in sites]
        if not names or len(set(names)) < len(names):
            raise NlaeError(f"an autoencoder needs sites, each once; got {', '.join(names) or 'none'}")
        self.target, self.sites, self.precision, self.seed = target, tuple(sites), precision, seed
        self.adapters: dict[str, AdapterSettings] = {}
        self.model: PreTrainedModel = target.model
        self.full_verbalizer: PreTrainedModel | None = None
        self.full_reference: PreTrainedModel | None = None
        self.full_trunks = nn.ModuleDict()
        self.active: str | None = None
        self.target_trunk = Trunk(self.model, deepest(sites))
        # plain, not registered: cuts share all weights with the trunks they are made of
        self._cuts: dict[tuple[str, Site], Trunk] = {}

    def has(self, role: str) -> bool:
        """Whether `role` has weights of its own."""
        return (
            role in self.adapters
            or role in self.full_trunks
            or (role == VERBALIZER and self.full_verbalizer is not None)
        )

    def add(self, role: str, adapter: AdapterSettings | None) -> None:
        """Give verbalizer or reconstructor weights to learn, unless it has some already.

        Args:
            role: which of the two.
            adapter: None copies the model, or the trunk, to train it whole.

        Raises:
            NlaeError: whole weights in a precision, or of a target, that they cannot be trained in.
        """
        if self.has(role):
            return
        if adapter is None and self.precision == "bf16-base":
            # bf16 parameters under AdamW round most updates to zero
            raise NlaeError(
                "target.dtype=bfloat16 trains adapters only; train whole weights with trainer.precision=bf16-mixed"
            )
        if adapter is None:
            refuse_quantized(self.target, "cannot be trained whole; keep verbalizer=lora and reconstructor=lora")
        if role != VERBALIZER:
            self.add_reader(role, adapter)
        elif adapter is None:
            self.full_verbalizer = self.clean_copy("target").requires_grad_(True)
        else:
            self._add_adapter(role, adapter, adaptable(self.target, self.target.n_layers))

    def add_reader(self, role: str, adapter: AdapterSettings | None, seed: int | None = None) -> None:
        """Add a role that reads text: an adapter on the blocks up to the deepest site, or a copy of the trunk."""
        if adapter is None:
            self.full_trunks[role] = Trunk(self.clean_copy("target"), self.target_trunk.site).requires_grad_(True)
        else:
            self._add_adapter(role, adapter, adaptable(self.target, self.target_trunk.site.index + 1), seed)

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
        for _, layer in self.lora_layers():
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
        layers = [layer for _, layer in self.lora_layers()]
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

    def clean_copy(self, role: str) -> PreTrainedModel:
        """The weights that `role` runs with, adapters merged, in a model of their own; `target` for the bare ones."""
        with self.target.device:  # not made on the host: a machine may have less memory than its GPU
            copied: Any = type(self.model)(copy.deepcopy(self.model.config))
        copied.to(self.target.dtype).load_state_dict(merged_state(self, role))
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
        backbone = cls(target, [site], precision=precision)
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
        for _, layer in self.lora_layers():
            # outside `use` the shared weights are the bare target, whatever peft has just made active
            layer._active_adapter = []
        self.model.requires_grad_(False)
        for name in self.adapters:
            if name != REFERENCE:
                for parameter in self.parameters_of(name):
                    # the base may be bf16; an adapter in bf16 would not move
                    parameter.data = parameter.data.float().to(self.target.device)
                    parameter.requires_grad_(True)

    def lora_layers(self) -> list[tuple[str, Any]]:
        """All maps that have adapters, with their dotted names."""
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


def _bare(module: nn.Module) -> nn.Module:
    return getattr(module, "base_layer", module)
