"""What a config says about a fit; plain numbers, checked before anything is loaded."""

from __future__ import annotations

import dataclasses

from nlae.errors import NlaeError
from nlae.model.adapters import AdapterSettings
from nlae.model.injection import InjectionSettings
from nlae.training.base import MICRO_TOKENS
from nlae.training.policy import PolicyLoss

CONTROLS = ("frozen", "supervised")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Shared by every fit.

    Attributes:
        updates: optimizer steps of each role.
        warmup: updates of linear rise.
        decay: share of the peak left at the last update.
        clip_norm: largest gradient norm, per role.
        weight_decay: of the optimizer.
        validate_every: updates between two points of the held-out curves.
        micro_tokens: most tokens of one backward, padding counted: memory and speed, not the update.
    """

    updates: int
    warmup: int = 10
    decay: float = 0.1
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    validate_every: int = 50
    micro_tokens: int = MICRO_TOKENS

    def __post_init__(self) -> None:
        """Refuse counts that could never train."""
        for name in ("updates", "validate_every", "micro_tokens"):
            if getattr(self, name) < 1:
                raise NlaeError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerbalizerSettings(FitSettings):
    """The verbalizer, and its fit on the teacher's text.

    Attributes:
        adapter: LoRA settings; None trains a full copy of the model.
        injection: how vectors enter.
        batch_size: rows per update.
        lr: peak learning rate.
    """

    adapter: AdapterSettings | None = dataclasses.field(default_factory=AdapterSettings)
    injection: InjectionSettings = dataclasses.field(default_factory=InjectionSettings)
    batch_size: int = 16
    lr: float = 5e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReconstructorSettings(FitSettings):
    """The reconstructor, and its fit on the teacher's text.

    Attributes:
        adapter: LoRA settings; None trains a full copy of the trunk.
        magnitude: predict the norm too.
        max_tokens: most tokens read, template included.
        head_rank: the head is the identity plus a map of this rank; None learns a whole matrix.
        batch_size: rows per update.
        lr: peak learning rate.
    """

    adapter: AdapterSettings | None = dataclasses.field(default_factory=AdapterSettings)
    magnitude: bool = False
    max_tokens: int = 160
    head_rank: int | None = None
    batch_size: int = 16
    lr: float = 5e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReinforceSettings(FitSettings):
    """Joint reinforcement, or one of its two controls.

    Attributes:
        policy_loss: how rewards move the policy; None is GRPO.
        control: `frozen` or `supervised` in place of reinforcement.
        verbalizer_lr: peak learning rate.
        reconstructor_lr: peak learning rate.
        activations: per update.
        samples: explanations per activation.
        kl: weight of the k3 penalty to the warm-started policy.
    """

    policy_loss: PolicyLoss | None = None
    control: str | None = None
    verbalizer_lr: float = 5e-4
    reconstructor_lr: float = 5e-4
    activations: int = 8
    samples: int = 8
    kl: float = 0.02

    def __post_init__(self) -> None:
        """Refuse unknown controls and groups that compare nothing."""
        super().__post_init__()
        if self.control not in (None, *CONTROLS):
            raise NlaeError(f"objective.control is {self.control!r}; choose null or one of {', '.join(CONTROLS)}")
        if self.samples < 2:
            raise NlaeError("objective.samples must be at least 2: rewards are compared within a group")
        if self.kl < 0:
            raise NlaeError(f"objective.kl={self.kl} would pay for leaving the reference; 0 is no penalty")
